"""Data in the hub's layout: folders, what save_to_disk wrote, and repositories."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pytest
from PIL import Image

from crucibench.contracts.capability import InputSpec
from crucibench.contracts.task import Modality
from crucibench.util.errors import InputError

# `datasets` leaves files of a format's reader to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

TEXTS = ["good film", "bad film", "fine film", "dull film"]


def reviews(first: int = 0) -> datasets.Dataset:
    features = datasets.Features(
        idx=datasets.Value("int32"),
        text=datasets.Value("string"),
        label=datasets.ClassLabel(names=["neg", "pos"]),
    )
    rows = {
        "idx": [first + number for number in range(4)],
        "text": [f"{text} {first}" for text in TEXTS],
        "label": [1, 0, 1, 0],
    }
    return datasets.Dataset.from_dict(rows, features=features)


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """A repository's folder of Parquet files, with a README and two configurations."""
    for config, first in (("small", 0), ("large", 10)):
        folder = tmp_path / "reviews" / config
        folder.mkdir(parents=True)
        reviews(first).to_parquet(str(folder / "test-00000-of-00001.parquet"))
        reviews(first + 100).to_parquet(str(folder / "train-00000-of-00001.parquet"))
    (tmp_path / "reviews/README.md").write_text(
        "---\nlicense: mit\nconfigs:\n"
        + "".join(
            f"- config_name: {config}\n  data_files:\n"
            f"  - split: test\n    path: {config}/test-*\n"
            f"  - split: train\n    path: {config}/train-*\n"
            for config in ("small", "large")
        )
        + "---\n# Reviews\n"
    )
    return tmp_path


def test_a_configuration_and_a_train_split(hub: Path, open_uri: Any, sources: Any) -> None:
    data = open_uri("hf:reviews/large?train=train&input=text")
    assert data.task.modality is Modality.TEXT and data.task.classes == ("neg", "pos")
    assert data.card.counts == {"test": 4, "train": 4}
    assert data.card.licence == "mit" and data.card.split == "as given: test, train"
    assert data.batch("test", [0], InputSpec()).inputs == ["good film 10"]
    assert data.samples("test").targets.tolist() == [1, 0, 1, 0]
    same = open_uri("hf:reviews?config=large&input=text")
    assert same.card.ids_digest["test"] == data.card.ids_digest["test"]
    assert same.card.notes == ("train is left out",)
    assert len(sources("hf:reviews/small").files) == 5


def test_ids_are_those_of_the_same_rows_elsewhere(hub: Path, open_uri: Any) -> None:
    data = open_uri("hf:reviews/small?input=text")
    file = "reviews/small/test-*.parquet"
    assert (
        data.card.ids_digest == open_uri(f"parquet:{file}?target=label&input=text").card.ids_digest
    )


def test_streaming_takes_the_first(hub: Path, open_uri: Any) -> None:
    data = open_uri("hf:reviews/small?input=text&streaming=true&limit=3")
    assert data.card.counts == {"test": 3}
    assert data.card.notes == (
        "train is left out", "streamed: at most the first 3 samples of test",
    )  # fmt: skip


def test_columns_and_splits_can_be_chosen(hub: Path, open_uri: Any) -> None:
    data = open_uri("hf:reviews/small?split=train&features=idx&groups=text")
    assert data.task.modality is Modality.TABLE
    assert data.card.features == {"idx": "int32"}
    assert data.card.notes == ("test is left out", "test is what the data calls train")
    halves = open_uri("hf:reviews/small?split=0.5&input=text")
    assert halves.card.counts == {"test": 2, "train": 2}


def test_saved_to_disk(tmp_path: Path, open_uri: Any) -> None:
    datasets.DatasetDict(validation=reviews(), train=reviews(9)).save_to_disk(tmp_path / "saved")
    data = open_uri("hf:saved?input=text")
    assert data.card.counts == {"test": 4}
    assert data.card.notes == ("train is left out", "test is what the data calls validation")
    reviews().save_to_disk(tmp_path / "one")
    assert open_uri("hf:one?input=text").card.counts == {"test": 4}


def test_a_table_as_csv(tmp_path: Path, open_uri: Any) -> None:
    (tmp_path / "table").mkdir()
    frame = pd.DataFrame({"a": [1, 2, 3], "b": ["x", None, "z"], "target": [0.5, 1.5, 2.5]})
    frame.to_csv(tmp_path / "table/test.csv", index=False)
    data = open_uri("hf:table")
    assert data.task.kind == "regression"
    assert data.batch("test", range(3), InputSpec()).inputs["a"].tolist() == [1, 2, 3]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for number, name in enumerate(("cat", "dog")):
        for copy in range(2):
            path = tmp_path / f"pictures/test/{name}/{copy}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (5, 5), (100 * number + copy, 0, 0)).save(path)
    return tmp_path


def test_an_image_folder(pictures: Path, open_uri: Any) -> None:
    data = open_uri("hf:pictures")
    assert data.task.modality is Modality.IMAGE and data.task.classes == ("cat", "dog")
    same = open_uri("imagefolder:pictures")
    assert data.card.ids_digest == same.card.ids_digest
    assert data.card.features == {"image": "3x5x5"}


def test_images_in_parquet(pictures: Path, open_uri: Any) -> None:
    features = datasets.Features(
        picture=datasets.Image(), kind=datasets.ClassLabel(names=["cat", "dog"])
    )
    files = sorted((pictures / "pictures").rglob("*.png"))
    stored = [{"bytes": file.read_bytes(), "path": "a/b.png"} for file in files]
    table = datasets.Dataset.from_dict({"picture": stored, "kind": [0, 0, 1, 1]}, features=features)
    (pictures / "packed").mkdir()
    table.to_parquet(str(pictures / "packed/test-0.parquet"))
    data = open_uri("hf:packed")
    assert data.card.ids_digest == open_uri("imagefolder:pictures").card.ids_digest


def test_a_damaged_image_is_a_bad_sample(pictures: Path, open_uri: Any) -> None:
    (pictures / "pictures/test/cat/0.png").write_text("x")
    with pytest.raises(
        InputError, match=r"^1 of 4 samples .* 'test/cat/0\.png': expected an image"
    ):
        open_uri("hf:pictures")
    assert open_uri("hf:pictures?on_bad_sample=skip").card.counts == {"test": 3}


@pytest.mark.parametrize(
    "path", ["../secret.csv", "/etc/passwd", "https://example.org/a.csv", "hf://datasets/a/b/c.csv"]
)
def test_a_readme_that_names_other_files(tmp_path: Path, open_uri: Any, path: str) -> None:
    (tmp_path / "evil").mkdir()
    (tmp_path / "secret.csv").write_text("a,label\n1,x\n2,y\n")
    (tmp_path / "evil/test.csv").write_text("a,label\n1,x\n2,y\n")
    files = f"  data_files:\n  - split: test\n    path: {path}\n"
    (tmp_path / "evil/README.md").write_text(f"---\nconfigs:\n- config_name: default\n{files}---\n")
    with pytest.raises(InputError, match=r"^README\.md of evil names .* not in the folder"):
        open_uri("hf:evil")


def test_a_link_out_of_the_folder(pictures: Path, open_uri: Any, tmp_path: Path) -> None:
    Image.new("RGB", (5, 5)).save(tmp_path / "secret.png")
    (pictures / "pictures/test/cat/link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(InputError, match="which is not part of it"):
        open_uri("hf:pictures")


def test_an_image_path_in_a_table_is_not_followed(tmp_path: Path, open_uri: Any) -> None:
    Image.new("RGB", (5, 5)).save(tmp_path / "secret.png")
    features = datasets.Features(
        image=datasets.Image(), label=datasets.ClassLabel(names=["a", "b"])
    )
    rows = {"image": [{"bytes": None, "path": str(tmp_path / "secret.png")}] * 2, "label": [0, 1]}
    table = datasets.Dataset.from_dict(rows, features=features)
    (tmp_path / "evil").mkdir()
    table.with_format("arrow").to_parquet(str(tmp_path / "evil/test.parquet"))
    with pytest.raises(InputError, match="which is not part of it"):
        open_uri("hf:evil")


BAD = {
    "hf:reviews": "hf:reviews: which configuration?",
    "hf:reviews/tiny": "hf:reviews: which configuration?",
    "hf:reviews/small?split=tset": "unknown split 'tset'; did you mean 'test'?",
    "hf:reviews/small?split=test&train=test": "options split and train both name 'test'",
    "hf:reviews/small?config=large": "the configuration is given twice: 'small' and 'large'",
    "hf:reviews/small?revision=main": "option revision: a folder has none",
    "hf:reviews/small?limit=3": "options streaming=true and limit=N belong together",
    "hf:reviews/small?streaming=true": "options streaming=true and limit=N belong together",
    "hf:reviews/small?streaming=true&limit=x": "expected a whole number from 1 up, got 'x'",
    "hf:reviews/small?target=labell": "there is no column 'labell'; did you mean 'label'?",
    "hf:./reviewss": "there is no folder './reviewss', and no repository is called that",
    "hf:a/b/c/d": "there is no folder 'a/b/c/d', and no repository is called that",
    "hf:script": "hf:script is a script (script.py), which would run code",
}


@pytest.mark.parametrize("uri", BAD)
def test_bad_addresses(hub: Path, open_uri: Any, uri: str) -> None:
    (hub / "script").mkdir()
    (hub / "script/script.py").write_text("raise SystemExit('was run')")
    with pytest.raises(InputError) as caught:
        open_uri(uri)
    assert BAD[uri] in str(caught.value) and "\n" not in str(caught.value)


class _Hub(BaseHTTPRequestHandler):
    """As much of the hub as one small repository needs."""

    folder: Path
    commit = "c" * 40
    asked: list[str]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_POST(self) -> None:
        self.asked.append(self.path)
        length = int(self.headers.get("Content-Length", 0))
        text = self.rfile.read(length).decode()
        paths = [path for path in self._files() if path in text]
        self._json([self._entry(path) for path in paths])

    def log_message(self, *args: object) -> None:
        pass

    def _files(self) -> list[str]:
        return [
            path.relative_to(self.folder).as_posix()
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        ]

    def _entry(self, path: str) -> dict[str, Any]:
        size = (self.folder / path).stat().st_size
        return {"type": "file", "path": path, "size": size, "oid": "0" * 40}

    def _answer(self, *, body: bool) -> None:
        self.asked.append(self.path)
        path = self.path.partition("?")[0]
        if path.startswith("/api/datasets/me/reviews/tree/"):
            top = path.split("/", 7)[7:]
            inside = [one for one in self._files() if one.startswith("".join(top))]
            folders = {one.rpartition("/")[0] for one in inside} - {"", *top}
            entries = [{"type": "directory", "path": one, "oid": "0" * 40} for one in folders]
            self._json([*entries, *map(self._entry, inside)], body=body)
        elif path.startswith("/api/datasets/me/reviews"):
            siblings = [{"rfilename": one} for one in self._files()]
            info = {"id": "me/reviews", "sha": self.commit, "siblings": siblings}
            self._json({**info, "private": False, "tags": [], "downloads": 0}, body=body)
        elif path.startswith("/datasets/me/reviews/resolve/"):
            self._file(path.split("/", 6)[6], body=body)
        else:
            self.send_error(404)

    def _file(self, name: str, *, body: bool) -> None:
        file = self.folder / name
        if not file.is_file():
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("X-Repo-Commit", self.commit)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = file.read_bytes()
        span = self.headers.get("Range", "")
        whole = len(content)
        self.send_response(206 if span else 200)
        if span:
            first, _, last = span.removeprefix("bytes=").partition("-")
            end = min(int(last or whole - 1), whole - 1)
            content = content[int(first) : end + 1]
            self.send_header("Content-Range", f"bytes {first}-{end}/{whole}")
        self.send_header("ETag", f'"{hash(file.read_bytes()) & 0xFFFFFFFF:x}"')
        self.send_header("X-Repo-Commit", self.commit)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def _json(self, data: Any, *, body: bool = True) -> None:
        import json

        content = json.dumps(data).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)


@pytest.fixture
def server(hub: Path) -> Iterator[str]:
    _Hub.folder, _Hub.asked = hub / "reviews", []
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hub) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


READ = """
from pathlib import Path
import sys
from crucibench.contracts.source import DataOpening
from crucibench.contracts.uri import parse_uri
from crucibench.data.evalset import open_data
from crucibench.data.sources.hf_datasets import HubSource
from crucibench.util.errors import InputError

base = Path(sys.argv[2])
uri = parse_uri(sys.argv[1])
try:
    print(dict(HubSource.sources(uri, base).facts))
    data = open_data(HubSource(), DataOpening(name="d", uri=uri, base=base, scratch=base / "c"))
    print(dict(data.card.counts), data.card.revision)
    print(*data.card.notes, sep="\\n")
except InputError as error:
    print("InputError", error)
"""


def read(uri: str, base: Path, **environment: str) -> str:
    clean = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", READ, uri, str(base)],
        env=clean | {"HF_HOME": str(base / "hf"), **environment},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.sockets
def test_a_repository(server: str, tmp_path: Path) -> None:
    base = tmp_path / "work"
    base.mkdir()
    commit = _Hub.commit
    told = read("hf:me/reviews/small?input=text", base, HF_ENDPOINT=server)
    assert f"{{'test': 4}} {commit}" in told
    assert "warning: the revision is not pinned" in told and f"revision={commit} pins" in told
    assert not [path for path in _Hub.asked if "telemetry" in path or "train-" in path]
    _Hub.asked.clear()
    pinned = f"hf:me/reviews/small?input=text&revision={commit}"
    told = read(pinned, base, HF_ENDPOINT=server)
    assert f"{{'test': 4}} {commit}" in told and "warning" not in told
    assert _Hub.asked == []  # pinned and read before: nobody is asked
    told = read("hf:me/nothing?input=text", base, HF_ENDPOINT=server)
    assert told.startswith("InputError hf:me/nothing can't be read from the hub: ")
    told = read("hf:me/reviews/small", base, HF_ENDPOINT=server, HF_HUB_OFFLINE="1")
    assert "the environment says offline" in told
