"""A cell's journal: what it says counts, and what a kill or damage makes of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from crucibench.store.journal import NAME, Journal
from crucibench.util import doors
from crucibench.util.doors import StorageError
from crucibench.util.hashing import file_digest

DIGESTS = ["identity", "numerics"]


def add(journal: Journal, *names: str) -> None:
    for name in names:
        path = journal.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"content of {name}")
        journal.add({name: file_digest(path)}, {"seconds": 1.0})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    journal = Journal(tmp_path / "cell", DIGESTS)
    add(journal, "records-00-00000.parquet", "records-00-00001.parquet")
    journal.add_probes(["p"])
    journal.reduce(32)
    journal.note_retry("it was tired")
    return journal.folder


def test_it_says_again_what_was_said(folder: Path) -> None:
    journal = Journal(folder, DIGESTS)
    assert sorted(journal.files) == ["records-00-00000.parquet", "records-00-00001.parquet"]
    assert all(journal.holds(name) for name in list(journal.files))
    assert not journal.holds("records-00-00002.parquet")
    assert (journal.probes, journal.batch_size, journal.attempts) == (["p"], 32, 1)
    assert journal.costs == [{"seconds": 1.0}] * 2


def test_another_model_or_version_finds_an_empty_folder(folder: Path) -> None:
    journal = Journal(folder, ["identity", "others"])
    assert not journal.files
    assert [path.name for path in folder.iterdir()] == [NAME]


@pytest.mark.parametrize("lost", [1, 9, 30])
def test_a_torn_line_is_dropped_and_the_next_does_not_join_it(folder: Path, lost: int) -> None:
    path = folder / NAME
    path.write_bytes(path.read_bytes()[:-lost])
    journal = Journal(folder, DIGESTS)
    assert journal.attempts == 0
    assert len(journal.files) == 2
    add(journal, "records-00-00002.parquet")
    assert len(Journal(folder, DIGESTS).files) == 3


def test_a_flipped_bit_anywhere_voids_all(folder: Path, tmp_path: Path) -> None:
    whole = (folder / NAME).read_bytes()
    for place in [*range(0, len(whole) - 1, 5), len(whole) - 1]:
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy)
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 7
        (copy / NAME).write_bytes(damaged)
        journal = Journal(copy, DIGESTS)
        if place == len(whole) - 1:  # the last line's end: that line is torn
            assert journal.attempts == 0 and len(journal.files) == 2
        else:
            assert not journal.files, f"byte {place}"
            assert [path.name for path in copy.iterdir()] == [NAME]
        shutil.rmtree(copy)


def test_a_file_that_changed_or_is_gone_counts_no_more(folder: Path) -> None:
    (folder / "records-00-00000.parquet").write_text("something else")
    (folder / "records-00-00001.parquet").unlink()
    journal = Journal(folder, DIGESTS)
    assert not journal.holds("records-00-00000.parquet")
    assert not journal.holds("records-00-00001.parquet")
    assert not journal.files


def test_what_entered_a_stage_for_another_reason_counts_no_more(folder: Path) -> None:
    journal = Journal(folder, DIGESTS)
    journal.note_choice(1, "these")
    journal.note_choice(2, "few")
    add(journal, "records-01-00000.parquet", "records-02-00000.parquet", "probes-p.parquet")
    assert Journal(folder, DIGESTS).choices == {1: "these", 2: "few"}
    journal.note_choice(1, "these")
    assert len(journal.files) == 5, "the same choice changes nothing"
    journal.note_choice(1, "those")
    for seen in (journal, Journal(folder, DIGESTS)):
        assert sorted(seen.files) == [
            "probes-p.parquet", "records-00-00000.parquet", "records-00-00001.parquet"
        ]  # fmt: skip
        assert not seen.holds("records-01-00000.parquet")
        assert seen.choices == {1: "those"}


def test_a_shard_counts_with_the_artefacts_that_were_kept_beside_it(folder: Path) -> None:
    journal = Journal(folder, DIGESTS)
    first, second = "records-00-00000.parquet", "records-00-00001.parquet"
    add(journal, "artifacts/inputs-00-00000.parquet", "artifacts/inputs-01-00000.parquet")
    assert journal.holds_shard(first) and journal.holds_shard(second)
    (folder / "artifacts/inputs-00-00000.parquet").write_text("something else")
    again = Journal(folder, DIGESTS)
    assert not again.holds_shard(first) and again.holds_shard(second)
    again.note_choice(1, "these")
    again.note_choice(1, "those")
    assert "artifacts/inputs-01-00000.parquet" not in again.files
    again.remove_uncounted()
    assert not list(folder.glob("artifacts/*")), "neither the damaged one nor the late one counts"


def test_what_is_killed_while_it_forgets_has_forgotten(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever of the files is still there must not be taken for whole."""

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    journal = Journal(folder, DIGESTS)
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(doors, "remove_folder", killed)
        journal.forget()
    assert (folder / "records-00-00000.parquet").is_file()
    assert not Journal(folder, DIGESTS).files
    assert [path.name for path in folder.iterdir()] == [NAME]


def test_strangers_are_dropped_and_nothing_else(folder: Path) -> None:
    journal = Journal(folder, DIGESTS)
    for name in ("records-09-00000.parquet", "probes-other.parquet", "log.txt"):
        (folder / name).write_text("")
    journal.remove_uncounted()
    assert sorted(path.name for path in folder.iterdir()) == [
        NAME, "log.txt", "records-00-00000.parquet", "records-00-00001.parquet"
    ]  # fmt: skip


def test_a_folder_that_can_not_be_made_is_told_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"^Not a directory: .*/file/cell$"):
        Journal(tmp_path / "file" / "cell", DIGESTS)


def test_the_probe_and_what_was_refused_are_known_again(tmp_path: Path) -> None:
    folder = tmp_path / "cell"
    journal = Journal(folder, DIGESTS)
    assert journal.probe is None and journal.refused is None
    journal.note_refusal({"differ": 3})
    journal.note_probe({"": {"kind": "labels"}})
    for seen in (journal, Journal(folder, DIGESTS)):
        assert seen.probe == {"": {"kind": "labels"}} and seen.refused == {"differ": 3}
    journal.forget()
    assert journal.probe is None and journal.refused is None
