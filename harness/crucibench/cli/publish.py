"""``crucibench publish``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from crucibench.cli._options import (
    NAMED_FILE,
    OUT,
    QUIET,
    complete_runs,
    examples,
    find_sound_runs,
    require,
)
from crucibench.cli._output import NotePrinter, write
from crucibench.report.format import counted
from crucibench.util.atomic import write_text
from crucibench.util.errors import InputError
from crucibench.util.hashing import file_digest
from crucibench.util.suggest import unknown

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from crucibench.store.run import Run

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command(
    epilog=examples(
        "crucibench publish --site public latest 3f2a",
        "crucibench publish --card cards latest --model cnn --hub-data photos=me/photos",
        "crucibench publish --every-eval-ever data latest",
        "crucibench publish --bundle evidence.zip latest",
    )
)
@click.argument("references", shell_complete=complete_runs, metavar="[RUN]...", nargs=-1)
@click.option("--site", type=_FOLDER, metavar="DIR", help="A static site of all RUNs.")
@click.option("--card", type=_FOLDER, metavar="DIR", help="Hugging Face model cards.")
@click.option(
    "--every-eval-ever", "shared", type=_FOLDER, metavar="DIR",
    help="Results in the shared schema of Every Eval Ever.",
)  # fmt: skip
@click.option(
    "--bundle", type=NAMED_FILE, metavar="FILE.zip",
    help="All that is needed to check one RUN, in a file to sign.",
)  # fmt: skip
@click.option(
    "--notes", "notes_file", type=NAMED_FILE, metavar="FILE",
    help="With --site: rows that were withdrawn or superseded, with the reason.",
)  # fmt: skip
@click.option(
    "--model", "models", multiple=True, metavar="NAME", help="With --card: only this model."
)
@click.option(
    "--hub-data", multiple=True, metavar="NAME=OWNER/REPO",
    help="With --card: the Hub's name of a data set, for .eval_results.",
)  # fmt: skip
@click.option(
    "--with-inputs", is_flag=True,
    help="With --bundle: keep inputs, free text and the names of samples.",
)  # fmt: skip
@click.option("--with-groups", is_flag=True, help="With --bundle: keep group columns.")
@OUT
@QUIET
def command(
    *,
    references: tuple[str, ...],
    site: Path | None,
    card: Path | None,
    shared: Path | None,
    bundle: Path | None,
    notes_file: Path | None,
    models: tuple[str, ...],
    hub_data: tuple[str, ...],
    with_inputs: bool,
    with_groups: bool,
    out: Path,
    quiet: bool,
) -> int:
    """Publish runs: a site, model cards, or evidence to check.

    A RUN is a path, the start of an id, latest (the default), a pack or a bundle. What is published
    holds no inputs, no group columns and no free text of samples, unless a bundle is asked to.
    """
    from crucibench.spec.notes import read_notes

    if site is card is shared is bundle is None:
        raise click.UsageError("expected --site, --card, --every-eval-ever or --bundle")
    require("--site", site, {"--notes": notes_file})
    require("--card", card, {"--model": models, "--hub-data": hub_data})
    require("--bundle", bundle, {"--with-inputs": with_inputs, "--with-groups": with_groups})
    if bundle is not None and (bundle.suffix != ".zip" or len(references) > 1):
        raise click.UsageError("--bundle: expected a name that ends in .zip, and one RUN")
    known = _pairs(hub_data)
    rows = None if notes_file is None else read_notes(notes_file)
    runs = find_sound_runs(references, out)
    note = NotePrinter(quiet)
    if site is not None:
        from crucibench.report.site import write_site

        pages = write_site(runs, site, notes=rows)
        note(f"{len(pages)} files")
        write(f"{pages[0]}\n")
    if card is not None:
        _write_cards(runs, card, models=models, hub_data=known, note=note)
    if shared is not None:
        _write_shared(runs, shared)
    if bundle is not None:
        _write_bundle(runs[0], bundle, with_inputs, with_groups, note)
    return 0


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, equals, repository = text.partition("=")
        if not (name and equals and repository.count("/") == 1):
            raise click.UsageError(f"--hub-data {text!r}: expected NAME=OWNER/REPO")
        pairs[name] = repository
    return pairs


def _write_cards(
    runs: Sequence[Run],
    folder: Path,
    *,
    models: Sequence[str],
    hub_data: Mapping[str, str],
    note: NotePrinter,
) -> None:
    from crucibench.report.hub_card import card_files, card_folders, measured

    found = measured(runs, models)
    names = {part.data.name for parts in found.values() for part in parts}
    for name in hub_data:
        if name not in names:
            raise InputError(f"--hub-data: {unknown('data set', name, names)}")
    for name, place in card_folders(found, folder).items():
        files = card_files(name, found[name], hub_data=hub_data)
        for path, text in files.items():
            write_text(place / path, text)
        if len(files) == 1:
            note(f"{name}: no data set of the Hub, so no .eval_results (--hub-data names one)")
        write(f"{place / 'README.md'}\n")


def _write_shared(runs: Sequence[Run], folder: Path) -> None:
    from crucibench.report.every_eval_ever import every_eval_ever

    for run in runs:
        for name, text in every_eval_ever(run).items():
            write_text(folder / name, text)
            write(f"{folder / name}\n")


def _write_bundle(
    run: Run, path: Path, with_inputs: bool, with_groups: bool, note: NotePrinter
) -> None:
    from crucibench.report.bundle import make_bundle
    from crucibench.store.redaction import Disclosure
    from crucibench.util.numbers import size_text

    withheld = make_bundle(run, path, Disclosure(inputs=with_inputs, groups=with_groups))
    if withheld:
        note(f"left out of {counted(len(withheld), 'file')}: bundle/bundle.json lists what")
    note(f"{size_text(path.stat().st_size)}, sha256 {file_digest(path)}")
    write(f"{path}\n")
