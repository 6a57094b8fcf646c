"""The explain suite: closed forms of linear models, and a function that sees no weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import crucibench as cb
from crucibench_suites.explain import ExplainConfig, metrics
from crucibench_suites.explain.methods import (
    METHODS,
    Question,
    colour_share,
    curve,
    flat_baseline,
    grad_cam,
    mass_within,
    parts_of,
    randomised,
    without_colour,
)


def linear(classes: int = 3, size: int = 8) -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * size * size, classes))


def asked(model: Any, n: int = 6, size: int = 8) -> Question:
    images = torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(1))
    return Question(
        model, images, flat_baseline(images), model(images).argmax(1), parts_of(images.shape[1:], 4)
    )


@pytest.mark.parametrize("name", [name for name in METHODS if name != "grad-cam"])
def test_of_a_linear_model_attributions_are_known(name: str) -> None:
    model = linear()
    question = asked(model)
    weights = model[1].weight - model[1].weight.mean(0)
    weights = weights[question.targets].reshape(question.inputs.shape)
    exact = weights * (question.inputs - question.baselines)
    found = METHODS[name](question)
    assert torch.allclose(question.pooled(found), question.pooled(exact), atol=1e-5)
    if name != "occlusion":  # it knows parts alone
        assert torch.allclose(found, exact, atol=1e-6)
    share = colour_share(question, METHODS[name])
    legs = [
        (weights * way).flatten(1).sum(1).abs()
        for way in (
            without_colour(question.inputs) - without_colour(question.baselines),
            question.inputs - without_colour(question.inputs),
        )
    ]
    assert torch.allclose(share.float(), legs[1] / sum(legs), atol=1e-4)


def test_integrated_gradients_sum_to_the_difference_of_scores() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(192, 32), nn.Tanh(), nn.Linear(32, 4))
    question = asked(model)
    found = METHODS["integrated-gradients"](question).flatten(1).sum(1)
    gap = question.score(question.inputs) - question.score(question.baselines)
    assert torch.allclose(found, gap, atol=1e-4)
    assert not torch.allclose(
        METHODS["gradient-x-input"](question).flatten(1).sum(1), gap, atol=0.01
    )


def test_of_one_logit_both_classes_are_attributed() -> None:
    images = torch.rand(4, 3, 8, 8)
    one = linear(1)
    targets = torch.tensor([0, 1, 0, 1])
    asked_of = Question(
        lambda x: torch.cat([torch.zeros(len(x), 1), one(x)], 1), images, flat_baseline(images),
        targets, parts_of(images.shape[1:], 4),
    )  # fmt: skip
    found = METHODS["gradient-x-input"](asked_of)
    exact = one[1].weight.reshape(1, 3, 8, 8) * (images - flat_baseline(images)) / 2
    sign = torch.tensor([-1.0, 1.0, -1.0, 1.0]).reshape(4, 1, 1, 1)
    assert torch.allclose(found, sign * exact, atol=1e-6)


def test_the_curve_is_the_area_by_its_definition() -> None:
    model = linear()
    question = asked(model, n=2)
    order = torch.stack([torch.randperm(16, generator=torch.Generator().manual_seed(k))
                         for k in (0, 1)])  # fmt: skip
    for insert in (False, True):
        start, end = question.inputs, question.baselines
        if insert:
            start, end = end, start
        for row in (0, 1):
            places = []
            for taken in (0, 4, 8, 12, 16):
                image = start[row].clone()
                for part in order[row, :taken].tolist():
                    image[question.parts == part] = end[row][question.parts == part]
                probability = model(image[None]).double().softmax(1)[0, question.targets[row]]
                places.append(probability.item())
            area = np.trapezoid(places, dx=0.25)
            found = curve(question, order, insert=insert, steps=4)[row]
            assert float(found) == pytest.approx(area, abs=1e-6)


def test_grad_cam_is_its_closed_form() -> None:
    """Of a linear head behind global pooling: the class's weights times the maps, cut off at 0."""
    torch.manual_seed(0)
    conv, head = nn.Conv2d(3, 5, 3, padding=1, stride=2), nn.Linear(5, 4)
    model = nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Conv2d(5, 5, 1), nn.Flatten(), head)
    question = asked(model)
    weights = (head.weight - head.weight.mean(0)) @ model[2].weight[:, :, 0, 0]
    maps = torch.einsum("nk,nkhw->nhw", weights[question.targets], conv(question.inputs)) / 16
    exact = nn.functional.interpolate(maps.relu()[:, None], size=8, mode="bilinear")
    found = grad_cam(question)
    assert found.shape == question.inputs.shape
    assert torch.allclose(found.sum(1, keepdim=True), exact, atol=1e-6)
    assert torch.isnan(grad_cam(asked(linear()))).all()


def test_mass_within_counts_positive_attribution() -> None:
    attributions = torch.zeros(3, 2, 4, 4)
    attributions[:, 0, 0, 0], attributions[:, 1, 3, 3], attributions[:, 0, 1, 1] = 3, 1, -5
    regions = torch.zeros(3, 4, 4, dtype=torch.bool)
    regions[0, 0, 0] = regions[1, :3] = True
    assert mass_within(attributions, regions).tolist()[:2] == [0.75, 0.75]
    assert torch.isnan(mass_within(attributions, regions)[2])


def test_parts_and_shuffled_weights() -> None:
    parts = parts_of(torch.Size([3, 10, 6]))
    assert parts.shape == (3, 10, 6) and (parts[0] == parts[2]).all()
    counts = torch.bincount(parts[0].flatten())
    assert len(counts) == 48 and counts.min() >= 1 and counts.max() <= 2
    assert parts_of(torch.Size([5])).tolist() == [0, 1, 2, 3, 4]
    model = linear()
    again = [randomised(model, 7)[1].weight for _ in range(2)]  # type: ignore[index]
    assert torch.equal(*again) and not torch.equal(again[0], model[1].weight)
    assert torch.equal(again[0].flatten().sort()[0], model[1].weight.flatten().sort()[0])
    assert randomised(nn.Flatten(), 0) is None


def test_correlations_are_scipys() -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 5, (4, 20)), rng.normal(size=(4, 20))
    found = metrics.correlations(first, second)
    assert found == pytest.approx([spearmanr(a, b)[0] for a, b in zip(first, second, strict=True)])
    assert np.isnan(metrics.correlations(np.ones((1, 4)), second[:1, :4])).all()


MODELS = """
import torch
from torch import nn

def net(seed=0):
    torch.manual_seed(int(seed))
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

def other():
    return net(1)
"""
EDGES = """
def attribute(model, inputs, baselines, targets):
    return (inputs - inputs.roll(1, -1)).abs()

def regions(images):
    inside = images[:, 0] > 2
    inside[:, :, 2:6] = True
    return inside
"""


def test_a_run_tells_a_function_that_looks_at_no_weights(tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text(MODELS)
    (tmp_path / "edges.py").write_text(EDGES)
    run = cb.run(
        models=[f"{name}=torch:{tmp_path}/models.py:{factory}"
                for name, factory in (("new", "net"), ("old", "other"))],
        data="sklearn:digits", suites=["explain"], out=tmp_path / "results",
        settings={"explain.own": str(tmp_path / "edges.py"), "explain.reference": "old",
                  "explain.methods": ["gradient-x-input", "grad-cam"], "explain.limit": 40,
                  "explain.regions": str(tmp_path / "edges.py"), "explain.severities": [1, 3],
                  "explain.corruptions": ["gaussian_noise"]},
    )  # fmt: skip
    table = run.metrics()

    def value(scenario: str, metric: str, model: str = "new") -> Any:
        keep = (table.model == model) & (table.metric == metric) & (table.scenario == scenario)
        (row,) = table[keep].itertuples()
        return row

    own = value("own", "shuffled-weights-agreement")
    assert own.value == pytest.approx(1) and own.verdict == "suspect"
    sound = value("gradient-x-input", "shuffled-weights-agreement")
    assert sound.lower < 0.2 and sound.verdict == "valid"
    assert value("gradient-x-input", "deletion-gain").lower > 0.05  # of a linear model it is exact
    assert value("gradient-x-input", "noise-agreement").lower > 0.8
    assert value("agreement-own", "release-agreement").value == pytest.approx(1)
    assert value("agreement-gradient-x-input", "release-agreement").upper < 0.6
    assert "colour-share" not in set(table.metric)  # the digits are grey
    levels = [table[table.point == f"gaussian_noise,severity={severity}"] for severity in (1, 3)]
    means = [level[level.scenario == "gradient-x-input"].iloc[0].value for level in levels]
    assert 1 > means[0] > means[1] > 0.3
    inside = value("own", "relevance-mass")
    assert inside.value > 0.5 and inside.value == pytest.approx(
        value("own", "relevance-mass-gain").value + 0.5
    )
    assert set(table[table.scenario.str.startswith("agreement")].model) == {"new"}
    (flat,) = (file for file in run.cells.values() if file.scenario == "grad-cam"
               and file.model == "new")  # fmt: skip
    assert [one.code for one in flat.findings] == ["no-attribution"]  # there is no convolution
    assert "grad-cam" not in set(table.scenario)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"methods": ["grad-kam"]}, "unknown method 'grad-kam'.*grad-cam"),
        ({"corruptions": ["fogg"]}, "unknown corruption 'fogg'.*fog"),
        ({"corruptions": ["fog"], "severities": [9]}, "fog has no severity 9"),
    ],
)
def test_what_is_unknown_is_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        ExplainConfig(**settings)
