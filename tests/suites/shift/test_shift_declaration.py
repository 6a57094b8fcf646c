"""The suite as the engine and the registry see it."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from crucibench.contracts.capability import Capability
from crucibench.contracts.data import DataCard
from crucibench.contracts.evidence import ModelInfo
from crucibench.contracts.scenario import Scenario
from crucibench.contracts.suite import Preset, SuiteRequest
from crucibench.contracts.task import Modality, Task
from crucibench.testing import check_corruption
from crucibench.util.errors import InputError
from crucibench_suites.shift import ShiftConfig, ShiftSuite
from crucibench_suites.shift.corrupted import (
    Corrupted,
    CorruptedGrid,
    CorruptedImage,
    ImageSummary,
)
from crucibench_suites.shift.corruptions.images import COMMON, FAMILIES
from crucibench_suites.shift.corruptions.texts import TEXTS
from crucibench_suites.shift.published import PublishedSummary

NOTHING_ELSE = "the data names no groups, and shift.data names no shifted data"


def request(
    config: ShiftConfig | None = None,
    *,
    preset: Preset = "quick",
    modality: Modality = Modality.IMAGE,
    kind: Any = "classification",
    classes: int = 10,
    image: str = "3x32x32",
    geometry: dict[str, Any] | None = None,
    **card_fields: Any,
) -> SuiteRequest:
    model = ModelInfo(
        name="m", uri="test:m", score_kind="logits",
        capabilities=frozenset({Capability.SCORES, Capability.ANY_INPUT, Capability.GRADIENTS}),
        geometry=geometry or {}, fingerprint=None,
    )  # fmt: skip
    task = Task(kind=kind, modality=modality, classes=tuple(f"c{k}" for k in range(classes)))
    card = DataCard(
        name="d", uri="test:d", task=task,
        **({"counts": {"test": 10}, "features": {"image": image}} | card_fields),
    )  # fmt: skip
    return SuiteRequest(
        model=model, data=card, config=config or ShiftConfig(), preset=preset, models=("m", "n")
    )


def planned(asked: SuiteRequest) -> dict[str, Scenario]:
    found = ShiftSuite().scenarios(asked)
    assert not isinstance(found, str)
    return {scenario.name: scenario for scenario in found}


def test_quick_runs_the_common_corruptions_at_three_severities() -> None:
    found = planned(request())
    assert list(found) == [*COMMON, "summary"]
    fog = found["fog"]
    assert fog.points == ("", "severity=1", "severity=3", "severity=5")
    assert fog.limit == 1000
    assert fog.parameters["parameter_set"] == "cifar"
    assert fog.parameters["levels"]["5"] == [1.5, 1.75]
    assert fog.parameters["corruption_version"] == 1
    assert fog.parameters["source"] == "generated"
    assert found["summary"].limit == 1000


def test_presets_grow() -> None:
    standard = planned(request(preset="standard"))
    assert standard["fog"].limit == 5000
    assert len(standard["fog"].points) == 6
    full = planned(request(preset="full"))
    assert full["fog"].limit is None
    assert set(full) == {
        "summary", *(name for names in FAMILIES.values() for name in names)
    }  # fmt: skip
    # The published means are of the common ones alone.
    assert list(full["summary"].parameters["corruptions"]) == list(COMMON)


@pytest.mark.parametrize(
    ("image", "geometry", "expected"),
    [
        ("3x64x64", None, "cifar"),
        ("3x65x20", None, "imagenet"),
        ("3x32x32", {"size": [224, 224]}, "imagenet"),
        ("3x100x80 to 3x500x400", {"size": [32, 32]}, "cifar"),
        ("3x100x80 to 3x500x400", None, "imagenet"),
    ],
)
def test_the_canonical_size_chooses_the_parameters(
    image: str, geometry: dict[str, Any] | None, expected: str
) -> None:
    found = planned(request(image=image, geometry=geometry))
    assert found["fog"].parameters["parameter_set"] == expected
    forced = planned(request(ShiftConfig(parameters="cifar"), image=image, geometry=geometry))
    assert forced["fog"].parameters["parameter_set"] == "cifar"


def test_one_channel_leaves_out_what_needs_colour() -> None:
    found = planned(request(preset="full", image="1x28x28"))
    assert not {"saturate", "greyscale", "colour_jitter"} & set(found)
    assert "high_pass" in found
    only = ShiftSuite().scenarios(request(ShiftConfig(corruptions=("saturate",)), image="1x8x8"))
    assert only == f"none of the corruptions asked for is defined for 1 channels; {NOTHING_ELSE}"


def test_a_user_chooses() -> None:
    config = ShiftConfig.model_validate(
        {"corruptions": ("fog", "geometric"), "severities": (5, 1, 5), "samples": 7}
    )
    found = planned(request(config))
    assert list(found) == ["fog", *FAMILIES["geometric"], "summary"]
    assert found["fog"].points == ("", "severity=1", "severity=5")
    assert {scenario.limit for scenario in found.values()} == {7}
    assert found["summary"].parameters["corruptions"] == {"fog": "weather"}
    assert isinstance(found["geometric_worst"], CorruptedGrid)
    assert isinstance(found["summary"], ImageSummary)
    own = planned(request(ShiftConfig(corruptions=("rotation", "shear"))))
    assert list(own["summary"].parameters["corruptions"]) == ["rotation", "shear"]


def test_a_reference_is_needed_beside_the_model() -> None:
    found = planned(request(ShiftConfig(reference="n")))
    needs = {need.alias: (need.cell, need.model) for need in found["summary"].needs}
    assert needs["reference/clean"] == ("pass/test", "n")
    assert needs["reference/fog"] == ("shift/fog", "n")
    assert needs["own/fog"] == ("shift/fog", None)
    published = planned(request(ShiftConfig(reference="alexnet")))["summary"]
    assert published.parameters["reference"] == "alexnet"
    assert not any(need.alias.startswith("reference/") for need in published.needs)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"corruptions": ("fogg",)}, "did you mean 'fog'"),
        ({"severities": (0, 1)}, "expected some of 1 to 5"),
        ({"severities": ()}, "expected some of 1 to 5"),
        ({"samples": 0}, "expected at least 1"),
        ({"severity": 3}, "severity"),
        ({"parameters": "tiny"}, "imagenet"),
        ({"texts": ("casng",)}, "did you mean 'casing'"),
        ({"tables": ("feature_nois",)}, "did you mean 'feature_noise'"),
    ],
)
def test_mistakes_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ShiftConfig.model_validate(settings)


def test_other_data_get_a_reason() -> None:
    suite = ShiftSuite()
    nothing = "the data has no columns for the perturbations asked for"
    table = suite.scenarios(request(modality=Modality.TABLE, features={}))
    assert table == f"{nothing}; {NOTHING_ELSE}"
    text = suite.scenarios(request(ShiftConfig(texts=()), modality=Modality.TEXT))
    assert text == f"no perturbation of texts was asked for; {NOTHING_ELSE}"
    regression = suite.scenarios(request(kind="regression", classes=0))
    assert regression == (f"it counts right answers, which regression has none of; {NOTHING_ELSE}")


def test_headline_and_sections_name_what_there_is() -> None:
    found = planned(request(preset="full"))
    for address in ShiftSuite.headline:
        scenario, _, metric = address.rpartition("/")
        if scenario == "published/summary":
            assert metric in {info.id for info in PublishedSummary.metrics}
        elif scenario != "subpopulations" and metric not in {
            "corrupted-mae", "corrupted-subset-accuracy", "corrupted-detection-ap"
        }:  # fmt: skip
            assert metric in {info.id for info in found[scenario].metrics}
    ids = {info.id for info in ShiftSuite.metrics}
    for scenario in found.values():
        assert {info.id for info in scenario.metrics} <= ids
        assert scenario.suite == "shift"
        assert scenario.perturbs
    assert {one.scenario for one in ShiftSuite.sections} <= {"", "published/summary", *found}


def test_groups_and_further_data_are_for_every_kind_of_data() -> None:
    config = ShiftConfig(data={"v2": "csv:v2.csv", "bare": "csv:bare.csv"}, tables=())
    counts = {"test": 10, "train": 5, "shift/v2": 4, "shift/bare": 3}
    asked = request(
        config, modality=Modality.TABLE, groups=("sex",), counts=counts, unlabelled=("shift/bare",)
    )
    found = planned(asked)
    assert list(found) == [
        "subpopulations", "inputs/test",
        "data/v2", "inputs/v2", "drift/v2", "subpopulations/v2",
        "data/bare", "inputs/bare", "drift/bare",
    ]  # fmt: skip
    assert {need.cell for need in found["data/v2"].needs} == {
        "pass/test", "pass/shift/v2", "pass/train"
    }  # fmt: skip
    assert {need.cell for need in found["drift/bare"].needs} == {
        "shift/inputs/test", "shift/inputs/bare", "pass/test", "pass/shift/bare"
    }  # fmt: skip
    declared = {info.id for info in ShiftSuite.metrics}
    for scenario in found.values():
        assert {info.id for info in scenario.metrics} <= declared and not scenario.perturbs
    headline = {info.id for info in found["subpopulations"].metrics}
    assert {"worst-group-top-1", "worst-group-mae"} <= headline
    alone = planned(request(config, modality=Modality.TABLE, counts=counts))
    assert "subpopulations" not in alone and "drift/v2" in alone


def test_texts_have_every_perturbation_and_a_summary() -> None:
    found = planned(request(modality=Modality.TEXT, classes=2))
    assert list(found) == [*TEXTS, "summary"]
    typo = found["keyboard_typo"]
    assert typo.points == ("", "severity=1", "severity=3", "severity=5")
    assert typo.limit == 1000 and typo.draws == "sample" and typo.perturbs
    assert typo.parameters["levels"] == {"1": [0.02], "3": [0.1], "5": [0.2]}
    assert list(found["summary"].parameters["corruptions"]) == list(TEXTS)
    few = ShiftConfig(texts=("typing", "url_noise"), severities=(2,), samples=9)
    some = planned(request(few, modality=Modality.TEXT))
    assert list(some) == [
        "keyboard_typo", "letter_swap", "letter_deletion", "letter_insertion", "url_noise",
        "summary",
    ]  # fmt: skip
    assert {scenario.limit for scenario in some.values()} == {9}


COLUMNS = {"age": "int64", "bmi": "double", "city": "string"}


def test_tables_have_what_their_columns_allow() -> None:
    card: Any = {
        "modality": Modality.TABLE, "features": COLUMNS, "counts": {"test": 10, "train": 5}
    }  # fmt: skip
    found = planned(request(ShiftConfig(columns=("age",), protect=("bmi",)), **card))
    assert list(found) == [
        "inputs/train", "inputs/test", "feature_noise", "unit_times_10", "unit_times_1000",
        "category_swap", "missing_values", "dropped_columns", "summary", "tail/age", "tilt/age",
    ]  # fmt: skip
    noise = found["feature_noise"]
    assert noise.parameters["spread"] == "of the role train"
    assert noise.parameters["protect"] == ["bmi"]
    assert {need.cell for need in noise.needs} == {"pass/test", "shift/inputs/train"}
    assert {need.cell for need in found["category_swap"].needs} == {
        "pass/test", "shift/inputs/train", "shift/inputs/test"
    }  # fmt: skip
    # A mean is over what every model can meet.
    assert "missing_values" not in found["summary"].parameters["corruptions"]
    assert Capability.MISSING_VALUES in found["missing_values"].requires
    assert Capability.MISSING_VALUES not in noise.requires
    assert "unseen_category" in planned(request(preset="full", **card))
    numbers = planned(request(ShiftConfig(protect=("city",)), **card | {"counts": {"test": 1}}))
    assert "category_swap" not in numbers and "inputs/train" not in numbers
    gaps = planned(request(ShiftConfig(tables=("missing",)), **card))
    assert list(gaps["summary"].parameters["corruptions"]) == ["missing_values", "dropped_columns"]


def test_a_population_is_along_a_numeric_column() -> None:
    with pytest.raises(InputError, match="expected numeric columns, 'city' of d holds string"):
        planned(
            request(
                ShiftConfig(columns=("city",)), modality=Modality.TABLE, features=COLUMNS
            )
        )  # fmt: skip


@pytest.mark.parametrize("setting", ["columns", "protect"])
def test_a_column_that_is_not_there_is_an_error(setting: str, refusal: Any) -> None:
    config = ShiftConfig.model_validate({setting: ("agee",)})
    assert refusal(
        InputError, lambda: planned(request(config, modality=Modality.TABLE, features=COLUMNS))
    ) == (
        f"shift.{setting}: unknown column of d 'agee'; did you mean 'age'? (known: age, bmi, city)"
    )


@pytest.mark.parametrize(
    ("columns", "kind", "groups", "message"),
    [
        (("sex", "agee"), "classification", ("sex", "age"),
         "'agee'; did you mean 'age'? (known: age, class, sex)"),
        (("class", "age"), "regression", ("age",), "'class' (known: age)"),
        (("sex", "age"), "classification", (), "'sex' (known: class)"),
    ],
)  # fmt: skip
def test_a_crossing_of_a_column_that_is_not_there_is_an_error(
    columns: tuple[str, ...], kind: str, groups: tuple[str, ...], message: str, refusal: Any
) -> None:
    assert (
        refusal(
            InputError,
            lambda: planned(request(ShiftConfig(cross=(columns,)), kind=kind, groups=groups)),
        )
        == f"shift.cross: unknown group column of d {message}"
    )


def test_crossings_of_columns_that_are_there() -> None:
    cross = (("sex", "age"), ("class", "age"))
    found = planned(request(ShiftConfig(cross=cross), groups=("sex", "age")))
    assert found["subpopulations"].parameters["cross"] == [list(columns) for columns in cross]
    own = planned(request(ShiftConfig(cross=(("class", "true class"),)), groups=("class",)))
    assert own["subpopulations"].parameters["cross"] == [["class", "true class"]]


def test_severity_and_model_leave_the_stream_alone() -> None:
    streams = {
        CorruptedImage.of(
            "shift", found.corruption, severities=severities, parameter_set=parameters, limit=None
        ).stream
        for severities, parameters in (((1,), "cifar"), ((2, 3), "imagenet"))
        for found in [planned(request())["fog"]]
        if isinstance(found, Corrupted)
    }
    assert streams == {"shift/fog"}


def test_another_packages_corruption_is_planned_where_it_is_named(with_plugin: Any) -> None:
    found = planned(request(ShiftConfig(corruptions=("common", "posterise"))))
    posterised = found["posterise"]
    assert isinstance(posterised, CorruptedImage) and posterised.corruption.family == "sample"
    # The mean corruption error is over the common ones, whatever is run beside them.
    assert list(found["summary"].parameters["corruptions"]) == list(COMMON)
    assert "posterise" not in planned(request(preset="full"))
    with pytest.raises(ValidationError, match="posterise is a corruption of the modality image"):
        ShiftConfig(texts=("posterise",))
    check_corruption(posterised.corruption)
