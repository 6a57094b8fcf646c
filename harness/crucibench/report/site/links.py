"""What pages are called: by digests, never by names that users chose."""

from __future__ import annotations

from crucibench.contracts.data import DataCard
from crucibench.contracts.rows import MetricRow
from crucibench.store.run import Run
from crucibench.store.seal import MARK, Seal
from crucibench.util.hashing import data_digest

_DIGITS = 16


def run_page(run: Run) -> str:
    """Returns the page of a run, named by the digest of its manifest."""
    return f"runs/{run.digest[:_DIGITS]}.html"


def model_page(model: str) -> str:
    """Returns the page of a model: all that was ever trained under this name."""
    return f"models/{data_digest(model)[:_DIGITS]}.html"


def data_page(card: DataCard) -> str:
    """Returns the page of a data set: one of the same content has the same page."""
    return f"data/{sealed(card).removeprefix(MARK)[:_DIGITS]}.html"


def sealed(card: DataCard) -> str:
    """Returns what stands for a data set's fingerprint, which is the key of packs' seals."""
    found = card.fingerprint
    return found if found.startswith(MARK) else Seal(found).data


def number_anchor(number: MetricRow) -> str:
    """Returns where on its run's page a number stands."""
    return f"n-{data_digest([number.data, str(number.address)])[:12]}"


def number_link(number: MetricRow, run: Run) -> str:
    """Returns the permalink of a number, from the site's root."""
    return f"{run_page(run)}#{number_anchor(number)}"
