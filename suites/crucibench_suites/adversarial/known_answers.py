"""Planted defects that the audits of attacks must find, and cases without any."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from crucibench.contracts.audit import AuditCase, KnownFindings, example_cell, example_evidence
from crucibench_suites.adversarial.blackbox.scenario import BlackBox
from crucibench_suites.adversarial.floors.scenario import Floor
from crucibench_suites.adversarial.probing.choosing import PROBE
from crucibench_suites.adversarial.protocol import LABEL_ONLY, SECOND, SELF_TEST
from crucibench_suites.adversarial.scenario import Quick
from crucibench_suites.adversarial.text.scenario import CharacterEdits, LeftAlone
from crucibench_suites.adversarial.threat import ThreatModel
from crucibench_suites.adversarial.transfer import Transfer
from crucibench_suites.adversarial.worst_case import WorstCase

_N = 40
_THREAT = ThreatModel(norm="linf", eps=(0.1,))
_QUICK = Quick.of("adversarial", _THREAT)
_EXAMPLE, _NONE = 0, 1
"""Levels of samples that the one radius breaks, and does not."""


_SCORES, _LABELS = (
    BlackBox.of("adversarial", name, _THREAT.model_copy(update={"access": access}), None)
    for name, access in (("square", "score"), ("hopskipjump", "decision"))
)
_EDITS = CharacterEdits.of(
    "adversarial", ThreatModel(norm="words", unit="words", eps=(0.2,), access="score"), None,
    LeftAlone(), {},
)  # fmt: skip


def _first(count: int, held: Any = 1, others: Any = 0, *, n: int = _N) -> Any:
    """Returns (n,) numbers of which the first `count` are `held`."""
    return np.where(np.arange(n) < count, held, others)


def _cell(n: int = _N, **columns: Any) -> Any:
    """Returns a cell of n samples of class 0; columns are of one number, or n."""
    full = {name: np.repeat(np.asarray(of)[None], n, 0) if np.ndim(of) == 0 else of
            for name, of in columns.items()}  # fmt: skip
    return example_cell(full, np.zeros(n, dtype=np.int64))


def _case(own: Any, scenario: Any, /, **needs: Any) -> AuditCase:
    clean = _cell(len(own.samples), prediction=np.int32(0))
    return AuditCase(example_evidence(own, {"clean": clean, **needs}), scenario)


def _probed(**columns: Any) -> AuditCase:
    """Returns probes of an honest model with some columns changed."""
    logits = {
        f"{name}_logit_{at}": np.arange(_N) * 1.0
        for name in ("first", "noise", "step", "odd")
        for at in (0, 1)
    }
    differences = {
        f"{scale}_{what}": 10.0
        for scale in ("fine", "grey", "wide")
        for what in ("expected", "seen")
    }
    usual: dict[str, Any] = {
        "answer_apart": 0.0, "gradient_apart": 0.0, "simplex": False,
        "inner_gradients": False, "gradient": 1.0, "gradient_beside": 1.0, "loss": -1.0,
        "pixels": 64, "coarse": False, "fine_still": False, "wide_still": False, "resolution": 1.0,
        "random_expected": 8.0, "random_seen": 8.0, "noise_breaks": 0, "step_breaks": False,
        "unbounded_breaks": 1, "planted": 1, "planted_found": 1, "noise_breaks_too": 1,
        "longer_breaks": 0, "abstains": 0, "late_abstains": 0,
        "late_expected": np.ones((_N, 6)), "late_seen": np.ones((_N, 6)),
    }  # fmt: skip
    named = {"attack": np.full(_N, PROBE, dtype=object)}
    return _case(_cell(**named | logits | differences | usual | columns), _QUICK)


def _attacked(scenario: Any = _QUICK, n: int = _N, **columns: Any) -> Any:
    """Returns the cell of one attack: by default it found an example of each sample, at once."""
    usual = {
        "attack": np.full(n, scenario.series.stages[0], dtype=object), "level": _EXAMPLE,
        f"distance_{scenario.threat.norm}": 0.05, "prediction": np.int32(1), "forwards": 1,
        "backwards": 0, "queries": 100, "confirmations": 1, "unconfirmed": 0,
        "first_distance": 0.1, "queries_to": np.ones((n, 1)),
    }  # fmt: skip
    return _cell(n, **usual | columns)


def _series(stage: str, gained: int, unsettled: int = 0) -> AuditCase:
    """Returns a series in which a last stage breaks so many samples that gradients did not."""
    own = _attacked(level=_NONE)
    last = _attacked(attack=np.full(_N, stage, dtype=object), level=_first(gained, 0, 1))
    joined = {name: np.concatenate([one.records.array(name) for one in (own, last)])
              for name in own.records.table.column_names if name != "point"}  # fmt: skip
    joined["unsettled"] = (np.arange(2 * _N) >= 2 * _N - unsettled).astype(np.int64)
    return _case(example_cell(joined, own.samples.targets), _QUICK)


def _certified(broken: int) -> AuditCase:
    """Returns certified samples, some of which an attack broke."""
    own = _cell(level=_NONE, reason=np.full(_N, "", dtype=object))
    attack = {_QUICK.name: _attacked(level=_first(broken, _EXAMPLE, _NONE))}
    return _case(own, Floor.of("adversarial", [_QUICK]), **attack)


def _self_test(passed: bool) -> AuditCase:
    probe = {
        "id": ["square"], "passed": np.array([passed]), "ratio": np.ones(1),
        "tolerance": np.ones(1), "found": np.ones(1), "reason": ["it found nothing"],
    }  # fmt: skip
    own = example_cell({"level": np.ones(_N)}, np.zeros(_N), probes={SELF_TEST: probe})
    return _case(own, _QUICK)


def _transferred(gained: int) -> AuditCase:
    own = _cell(
        level=_first(gained, _EXAMPLE, _NONE), white_box_level=_NONE,
        surrogate=_first(gained, "other", "").astype(object),
    )  # fmt: skip
    return _case(own, Transfer.of("adversarial", _QUICK, ["other"]))


def _surrogates(gained: int, **changed: Any) -> AuditCase:
    scenario = WorstCase(
        suite="adversarial", name="worst-case-linf", threat=_THREAT, attacks=(),
        gradients=("own",), surrogates=(("borrowed", "other"),),
    )  # fmt: skip
    return _case(
        _cell(level=_NONE), replace(scenario, **changed), own=_attacked(level=_NONE),
        borrowed=_attacked(level=_first(gained, _EXAMPLE, _NONE)),
    )  # fmt: skip


def _found_at_first(first: int, left: int, *, later: int = 0) -> AuditCase:
    """Returns a search on scores: examples by the first question, none, and by later ones."""
    needed = np.repeat([1.0, np.nan, 50.0], [first, left, later])[:, None]
    return _case(_attacked(_SCORES, first + left + later, queries_to=needed), _SCORES)


def _nearer(ratio: float, n: int = 10) -> AuditCase:
    """Returns a search on labels whose last examples lie so far away, the first being 1."""
    return _case(_attacked(_LABELS, n, distance_linf=ratio, first_distance=1.0), _LABELS)


def _beside_labels(theirs: int, mine: int, n: int) -> AuditCase:
    """Returns samples that an attack on labels alone broke, and those that one on scores did."""
    rows = np.arange(n)
    level = np.where((rows >= theirs) & (rows < theirs + mine), _EXAMPLE, _NONE)
    other = _cell(n, level=_first(theirs, _EXAMPLE, _NONE, n=n))
    return _case(_attacked(_SCORES, n, level=level), _SCORES, **{LABEL_ONLY: other})


def _texts(**columns: Any) -> AuditCase:
    usual = {"unchanged": 0, "spoilt": 0, "choices": 3, "moved": 1, **columns}
    return _case(_attacked(_EDITS, **usual), _EDITS)


ANSWERS = KnownFindings(
    planted={
        "random-under-attack": lambda: _probed(answer_apart=_first(2, 1.1e-4)),
        "probabilities-as-logits": lambda: _probed(simplex=True),
        "same-answer-to-odd-inputs": lambda: _probed(
            odd_logit_0=_first(20, 0.0, np.arange(_N)), odd_logit_1=_first(20, 0.0, np.arange(_N))
        ),
        "abstains-under-attack": lambda: _probed(abstains=_first(2), late_abstains=_first(3)),
        "gradients-in-forward": lambda: _probed(inner_gradients=_first(1).astype(bool)),
    },
    clean=lambda: _probed(
        answer_apart=_first(1, 1.1e-4), abstains=_first(2), late_abstains=_first(1),
        gradient_apart=5e-2, simplex=_first(39).astype(bool),
        odd_logit_0=_first(19, 0.0, np.arange(_N)), odd_logit_1=_first(19, 0.0, np.arange(_N)),
    ),
)  # fmt: skip

GRADIENTS = KnownFindings(
    planted={
        "gradients-not-finite": lambda: _probed(gradient_beside=_first(1, np.nan, 1.0)),
        "zero-gradients": lambda: _probed(gradient=_first(3, 0.0, 1.0)),
        "vanishing-gradients": lambda: _probed(gradient=_first(3, 1e-2, 1.0)),
    },
    clean=lambda: _probed(
        gradient=_first(2, 1e-2, 1.0), gradient_beside=_first(2, 0.0, 1.0), loss=-0.9
    ),
)

STRONGER = KnownFindings(
    planted={
        "noise-beats-attack": lambda: _probed(noise_breaks=_first(2)),
        "one-step-beats-many": lambda: _probed(step_breaks=_first(2).astype(bool)),
        "unbounded-attack-fails": lambda: _probed(unbounded_breaks=_first(3, 0, 1)),
        "planted-example-missed": lambda: _probed(planted_found=_first(5, 0, 1)),
        "noise-does-as-well": lambda: _probed(noise_breaks_too=_first(10, 2, -1)),
    },
    clean=lambda: _probed(
        noise_breaks=_first(1), step_breaks=_first(1).astype(bool),
        unbounded_breaks=_first(2, 0, 1), planted_found=_first(4, 0, 1),
        noise_breaks_too=_first(9, 4, -1),
    ),
)  # fmt: skip

DIFFERENCES = KnownFindings(
    planted={
        "quantised-input": lambda: _probed(fine_still=_first(21).astype(bool)),
        "gradient-disagrees-with-differences": lambda: _probed(fine_seen=20.1),
        "shattered-gradients": lambda: _probed(grey_seen=2.9),
        "gradient-misses-directions": lambda: _probed(random_expected=6.6),
        "gradient-fails-on-the-way": lambda: _probed(late_expected=np.full((_N, 6), 0.82)),
    },
    clean=lambda: _probed(
        fine_still=_first(20).astype(bool),
        fine_seen=20.0,
        grey_seen=3.0,
        random_expected=6.7,
        late_expected=np.full((_N, 6), 0.83),
    ),
    spared={
        "gradient-disagrees-with-differences": lambda: _probed(fine_seen=20.1, answer_apart=1.0),
        "gradient-misses-directions": lambda: _probed(random_expected=0.0, random_seen=7.9),
    },
)

STEPS = KnownFindings(
    planted={"more-steps-gain": lambda: _probed(longer_breaks=_first(3))},
    clean=lambda: _probed(longer_breaks=_first(2)),
    spared={"more-steps-gain": lambda: _probed(longer_breaks=1, answer_apart=1.0)},
)

SECOND_OPINION = KnownFindings(
    planted={
        "second-opinion-moves-number": lambda: _series(SECOND, 2),
        "second-opinion-open": lambda: _series(SECOND, 0, 5),
    },
    clean=lambda: _series(SECOND, 1, 4),
)

CERTIFIED_SAMPLES = KnownFindings(
    planted={"certified-sample-broken": lambda: _certified(1)}, clean=lambda: _certified(0)
)

SELF_TESTS = KnownFindings(
    planted={"attack-fails-self-test": lambda: _self_test(False)}, clean=lambda: _self_test(True)
)

SUPPLIED = KnownFindings(
    planted={"supplied-examples": lambda: _case(_attacked(in_box=True), _QUICK)},
    clean=lambda: _case(_cell(0), _QUICK),
)

SERIES = KnownFindings(
    planted={
        "black-box-beats-gradients": lambda: _series("square", 2),
        "unconfirmed-examples": lambda: _case(_attacked(unconfirmed=_first(3)), _QUICK),
    },
    clean=lambda: _series("square", 1),
    spared={"unconfirmed-examples": lambda: _case(_attacked(unconfirmed=_first(2)), _QUICK)},
)

TRANSFERRED = KnownFindings(
    planted={"transfer-beats-white-box": lambda: _transferred(2)}, clean=lambda: _transferred(1)
)

SURROGATES = KnownFindings(
    planted={"transfer-beats-white-box": lambda: _surrogates(2)},
    clean=lambda: _surrogates(1),
    spared={"transfer-beats-white-box": lambda: _surrogates(2, gradients=())},
)

QUESTIONS = KnownFindings(
    planted={"queries-gain-nothing": lambda: _found_at_first(5, 10)},
    clean=lambda: _found_at_first(5, 10, later=1),
    spared={"queries-gain-nothing": lambda: _nearer(0.89)},
)

# Ten of 500 are two in a hundred; of 1,500, 30 against 5 are fewer.
LABELS = KnownFindings(
    planted={"labels-beat-scores": lambda: _beside_labels(10, 0, 500)},
    clean=lambda: _beside_labels(10, 8, 100),
    spared={"labels-beat-scores": lambda: _beside_labels(30, 5, 1500)},
)

CONSTRAINTS = KnownFindings(
    planted={"constraints-broken": lambda: _case(_attacked(_SCORES, breaches=_first(1)), _SCORES)},
    clean=lambda: _case(_attacked(_SCORES, breaches=0), _SCORES),
)

TEXTS = KnownFindings(
    planted={
        "unchanged-examples": lambda: _texts(unchanged=_first(3)),
        "unreadable-examples": lambda: _texts(spoilt=_first(3)),
        "nothing-to-change": lambda: _texts(choices=_first(21, 0, 3)),
    },
    clean=lambda: _texts(unchanged=_first(2), spoilt=_first(2), choices=_first(20, 0, 3)),
)
