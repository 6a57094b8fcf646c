"""A name that nobody knows is refused: no branch takes it for the last of those it knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from crucibench.comparing.parity import measure
from crucibench.contracts.evidence import ModelInfo
from crucibench.data.sources.synthetic.shapes import _inside
from crucibench.gating.evaluate import _against
from crucibench.metrics.gap_chance import corrected_gap
from crucibench.metrics.gap_change import _contrasts
from crucibench.metrics.gaps import gap_interval, gap_of
from crucibench.util.errors import InputError
from crucibench_suites.adversarial.attacks.model import ImagePoints
from crucibench_suites.adversarial.blackbox.images import Pixels
from crucibench_suites.adversarial.tables.constraints import Constraints
from crucibench_suites.adversarial.tables.space import RowSpace
from crucibench_suites.adversarial.text.scenario import CharacterEdits, LeftAlone
from crucibench_suites.adversarial.threat import ThreatModel
from crucibench_suites.bias.fairlearn_metrics import FAIRLEARN
from crucibench_suites.bias.fairlearn_numbers import _of_classes, _undefined
from crucibench_suites.bias.reworded import _not_asked
from crucibench_suites.shift.corruptions._filters import border_index
from crucibench_suites.shift.corruptions._warp import _sampled
from crucibench_suites.shift.population_scoring import population_weights

ANY: Any = "anything"
NUMBERS: Any = np.array([0.1, 0.4, 0.7])
IMAGES = torch.zeros(1, 1, 2, 2)


def words(access: str) -> Any:
    threat = ThreatModel(norm="words", unit="words", eps=(0.1,), access=access)
    return CharacterEdits.of("adversarial", threat, None, LeftAlone(), {})


REFUSED: dict[str, Callable[[], Any]] = {
    "norm of points": lambda: ImagePoints(
        x=IMAGES, y=torch.zeros(1), eps=torch.ones(1), ids=("a",), norm="words"
    ),
    "norm of pixels": lambda: Pixels(IMAGES, "words"),
    "norm of rows": lambda: RowSpace(pd.DataFrame({"a": [1.0]}), Constraints(), {}, "words"),
    "access to texts": lambda: words("white-box"),
    "stop words": lambda: replace(words("score"), left=LeftAlone(stop_words="german")).stop_words,
    "kind of a gap": lambda: gap_of(NUMBERS, ANY),
    "kind of an interval": lambda: gap_interval([NUMBERS], ANY, 0.9),
    "combination of gaps": lambda: corrected_gap([], ANY, seed=0, stream="s"),
    "largest contrast": lambda: _contrasts([2], ANY),
    "what fairlearn measures": lambda: _of_classes(
        SimpleNamespace(positive=1, probabilities=None),
        FAIRLEARN["roc_auc_score_group_min"]._replace(of=ANY),
    ),
    "what fairlearn needs": lambda: _undefined(
        FAIRLEARN["selection_rate"]._replace(needs=(ANY,)), NUMBERS, NUMBERS, np.zeros(3, int)
    ),
    "outputs of reworded texts": lambda: _not_asked(ANY, 1, 2),
    "shape of a population": lambda: population_weights(NUMBERS, ANY, 0.5, "low"),
    "side of a population": lambda: population_weights(NUMBERS, "tail", 0.5, ANY),
    "border of a filter": lambda: border_index(4, np.arange(-1, 5), ANY),
    "outside of a warp": lambda: _sampled(IMAGES, IMAGES[0], IMAGES[0], ANY),
    "test of a gate": lambda: _against(
        SimpleNamespace(test="floor", number=ANY, size=SimpleNamespace(of=abs)),
        SimpleNamespace(baseline=1.0),
        ANY,
    ),
    "what is compared": lambda: measure(NUMBERS[:, None], NUMBERS[:, None], 0.1, ANY),
    "shape that is drawn": lambda: _inside(ANY, *(np.zeros(1, np.int32),) * 3),
    "kind of scores": lambda: ModelInfo(
        name="m", uri="test:m", capabilities=frozenset(), score_kind=ANY, geometry={},
        fingerprint=None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_an_unknown_name_is_refused(what: str) -> None:
    with pytest.raises((KeyError, ValueError, InputError)):
        REFUSED[what]()
