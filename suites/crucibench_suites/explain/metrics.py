"""The suite's metrics: means over samples, each with its reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.metric import Metric, MetricInfo
from crucibench.contracts.statistic import Floats, RowMetric
from crucibench.stats import weighted_ratio


@dataclass(frozen=True)
class PerSample:
    """A number of each sample, shape (n,); nan where it is undefined."""

    values: Floats

    def __len__(self) -> int:
        return len(self.values)


def _form(view: PerSample) -> RowMetric:
    known = np.isfinite(view.values)
    return RowMetric(weighted_ratio(np.where(known, view.values, 0.0), known))


def _reference(view: PerSample) -> float:
    known = [value for value in view.values.tolist() if value == value]  # noqa: PLR0124
    return sum(known) / len(known) if known else float("nan")


def _applies(view: PerSample) -> str | None:
    return None if np.isnan(view.values).all() else ""


def _examples() -> list[PerSample]:
    values = np.random.default_rng(0).uniform(0, 1, 60)
    return [PerSample(values), PerSample(np.where(values < 0.3, np.nan, values))]


def _mean(
    id_: str, name: str, direction: str, definition: str, *, source: str = "", lower: float = -1
) -> Metric:
    info = MetricInfo(
        id=id_, name=name, direction=direction, definition=definition, source=source,
        lower=lower, upper=1,
    )  # fmt: skip
    return Metric(
        info=info, kinds=("attributed samples",), form=_form, reference=_reference,
        applies=_applies, examples=_examples, undefined="undefined for every sample",
    )  # fmt: skip


_RISE = "Petsiuk, Das and Saenko, RISE, BMVC 2018"
_ADEBAYO = "Adebayo et al., Sanity checks for saliency maps, NeurIPS 2018"
_ARRAS = "Arras, Osman and Samek, Information Fusion 81 (2022): relevance mass accuracy"
_RHO = "The mean over samples of Spearman's correlation of the signed attributions of an input's "
_PARTS = "parts (64 image patches, or columns)"

DELETION = _mean(
    "deletion-gain",
    "deletion, against random order",
    "higher",
    "The mean over samples of the area under the predicted class's probability as parts are "
    "replaced by the baseline in random order, minus the same in the order of attributions, "
    "largest first.",
    source=_RISE,
)
INSERTION = _mean(
    "insertion-gain",
    "insertion, against random order",
    "higher",
    "The mean over samples of the area under the predicted class's probability as parts are put "
    "into the baseline in the order of attributions, largest first, minus the same in random "
    "order.",
    source=_RISE,
)
RANDOMISED = _mean(
    "shuffled-weights-agreement",
    "agreement with shuffled weights",
    "target=0",
    f"{_RHO}{_PARTS} with those by the same model, its weights shuffled tensor by tensor.",
    source=_ADEBAYO,
)
NOISE = _mean(
    "noise-agreement",
    "agreement under noise",
    "higher",
    f"{_RHO}{_PARTS} with those after normal noise (0.02 of the range of pixels, or of a standard "
    "column's deviation).",
)
CORRUPTED = _mean(
    "corruption-agreement",
    "agreement under corruption",
    "higher",
    f"{_RHO}{_PARTS} with those of the corrupted image, of the class predicted without corruption.",
)
LOCALISED = _mean(
    "relevance-mass",
    "attribution within the region",
    "higher",
    "The mean over samples of the share of positive attribution, summed over channels, that lies "
    "within the region that the user marks.",
    source=_ARRAS,
    lower=0,
)
LOCALISED_GAIN = _mean(
    "relevance-mass-gain",
    "attribution within the region, against chance",
    "higher",
    "The relevance mass minus the share of the image that the region takes: 0 is chance.",
    source=_ARRAS,
)
COLOUR = _mean(
    "colour-share",
    "share of colour",
    "none",
    "The mean over colour images of |c| / (|c| + |g|): g is what attributions say that the image "
    "in grey adds to the score of its mean grey, c what its colours add to that.",
    lower=0,
)
RELEASES = _mean(
    "release-agreement",
    "agreement with the reference",
    "higher",
    f"{_RHO}{_PARTS} by the model and by the reference, each of its own predicted class.",
)
OF_METHOD = {
    "deletion": DELETION,
    "insertion": INSERTION,
    "randomised": RANDOMISED,
    "noise": NOISE,
    "colour": COLOUR,
    "localised": LOCALISED,
    "localised_gain": LOCALISED_GAIN,
}
"""By the column of records that each is the mean of."""


def correlations(first: NDArray[np.floating], second: NDArray[np.floating]) -> Floats:
    """Returns Spearman's correlation of each row, shape (n,); nan where a row is constant.

    Args:
        first: shape (n, k).
        second: shape (n, k).
    """
    from scipy.stats import rankdata

    centred = [rankdata(one, axis=1) - (one.shape[1] + 1) / 2 for one in (first, second)]
    norms = np.prod([np.linalg.norm(one, axis=1) for one in centred], axis=0)
    with np.errstate(invalid="ignore"):
        return np.asarray((centred[0] * centred[1]).sum(axis=1) / norms)
