"""``crucibench parity``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crucibench.cli._options import ALLOW_PICKLE, FORMAT, QUIET, Format, column_options, examples
from crucibench.cli._output import NotePrinter, emit, fact_table

if TYPE_CHECKING:
    from crucibench.comparing.parity import Parity

DIFFER = 1


@click.command(
    epilog=examples(
        "crucibench parity torch:models.py:cnn?weights=cnn.safetensors onnx:cnn.onnx \\",
        "               --data imagefolder:photos",
        "crucibench parity torch:models.py:cnn oip:http://localhost:8080/v2/models/cnn \\",
        "               --data sklearn:digits --limit 200",
    )
)
@click.argument("first", metavar="[NAME=]URI")
@click.argument("second", metavar="[NAME=]URI")
@click.option("--data", required=True, metavar="[NAME=]URI", help="What both are asked about.")
@column_options
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    help="At most so many samples.",
)
@click.option(
    "--tolerance",
    metavar="X",
    type=click.FloatRange(min=0),
    default=1e-5,
    show_default=True,
    help="How far probabilities may differ.",
)
@click.option("--device", metavar="NAME", default="auto", help="auto, cpu, cuda or cuda:N.")
@ALLOW_PICKLE
@FORMAT
@QUIET
def command(
    *,
    first: str,
    second: str,
    data: str,
    columns: dict[str, Any],
    limit: int,
    tolerance: float,
    device: str,
    allow_pickle: bool,
    form: Format,
    quiet: bool,
) -> int:  # fmt: skip
    """Check that two forms of one model answer alike.

    The same weights in two formats (a module, ONNX, an exported program, a server) must give the
    same probabilities within a tolerance. Where they do not, the second is asked again about inputs
    changed as mistaken conversions change them, and the first suspicion is printed. Exit code
    0: they agree; 1: they differ.
    """
    from crucibench.comparing.parity_models import parity_of

    parity = parity_of(
        (first, second), {"uri": data, **columns}, base=Path.cwd(), limit=limit,
        tolerance=tolerance, device=device, allow_pickle=allow_pickle, tell=NotePrinter(quiet),
    )  # fmt: skip
    found = document(parity)
    known = {name: value for name, value in found.items() if value not in ("", None, {})}
    emit(form, found, [fact_table(known)])
    if not parity.agree:
        NotePrinter(quiet)(f"they differ{f': {parity.suspicion}' if parity.suspicion else ''}")
    return 0 if parity.agree else DIFFER


def document(parity: Parity) -> dict[str, Any]:
    """Returns what was found as plain data."""
    return {
        "agree": parity.agree,
        "samples": parity.n,
        "label flips": parity.flips,
        "largest difference": parity.largest,
        **{f"quantile {q:g} of differences": value for q, value in parity.quantiles.items()},
        "tolerance": parity.tolerance,
        "suspicion": parity.suspicion,
        "tried": dict(parity.tried),
    }
