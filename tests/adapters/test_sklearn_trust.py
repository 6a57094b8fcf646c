"""`sklearn:`: no file runs code unasked, and none that was tampered with is read."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import joblib
import pytest
import skops.io
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from crucibench.contracts.batch import Batch
from crucibench.contracts.data import DataCard
from crucibench.testing import check_adapter
from crucibench.util.errors import InputError
from crucibench_adapters.sklearn_estimator import SklearnAdapter

XY = tuple[Any, Any]


def opened(opening: Any, uri: str, card: DataCard, **options: Any) -> SklearnAdapter:
    adapter = SklearnAdapter.open(opening(uri, card, **options))
    assert isinstance(adapter, SklearnAdapter)
    return adapter


class Foreign(GaussianNB):
    pass


def test_foreign_types_must_be_trusted_by_name(
    opening: Any, tmp_path: Path, diabetes_card: DataCard, diabetes_xy: XY
) -> None:
    skops.io.dump(Foreign().fit(*diabetes_xy), tmp_path / "m.skops")
    name = f"{__name__}.Foreign"
    with pytest.raises(InputError) as caught:
        opened(opening, "sklearn:m.skops", diabetes_card)
    assert str(caught.value) == (
        f"m.skops holds types that are not scikit-learn's own: {name}; if you trust them, "
        f"add trust={name}"
    )
    assert opened(opening, f"sklearn:m.skops?trust={name}", diabetes_card)


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "builtins.eval",
        "numpy.memmap",
        "numpy.testing._private.utils.runstring",
        "numpy.f2py.compile",
        "sklearn.base.warnings",
        "sklearn.datasets._base.import_module",
        "sklearn.externals.array_api_compat.common._helpers.sys",
        "sklearn.utils._testing.check_output",
        "sklearn.utils.parallel.warnings",
        "sklearn.ensemble.RandomForestClassifier",  # not where it is defined
        "sklearn.no_such_module.Thing",
        "sklearn.utils.fixes.Thing",
        "scipy.io.savemat",
        "sklearn.utils.validation.check_memory",
        "sklearn.neighbors._kd_tree.KDTree",
    ],
)
def test_types_that_are_not_taken_unasked(name: str) -> None:
    from crucibench_adapters._skops import _is_own

    assert not _is_own(name)


@pytest.mark.parametrize(
    "name",
    [
        "sklearn.tree._tree.Tree",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.feature_selection._univariate_selection.f_classif",
        "sklearn.metrics._classification.f1_score",
        "numpy.dtype",
    ],
)
def test_types_that_are_taken(name: str) -> None:
    from crucibench_adapters._skops import _is_own

    assert _is_own(name)


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("left_child", 10**8, "a tree's node leads nowhere"),
        ("right_child", -5, "a tree's node leads nowhere"),
        ("left_child", 0, "a tree's node leads nowhere"),
        ("feature", 64, "a tree asks for a column beyond the 64 that there are"),
    ],
)
def test_trees_made_to_do_damage_are_refused(
    opening: Any,
    tmp_path: Path,
    digits_card: DataCard,
    digits_xy: XY,
    field: str,
    value: int,
    told: str,
) -> None:
    model = RandomForestClassifier(2, random_state=0).fit(*digits_xy)
    tree = model.estimators_[1].tree_
    state = tree.__getstate__()
    state["nodes"] = state["nodes"].copy()
    state["nodes"][field][0] = value
    tree.__setstate__(state)
    model.estimators_[1].n_features_in_ = 10**6
    skops.io.dump(model, tmp_path / "m.skops")
    with pytest.raises(InputError) as caught:
        opened(opening, "sklearn:m.skops", digits_card)
    assert str(caught.value) == f"m.skops is damaged or made to do damage: {told}"


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("left", 10**8, "a tree's node leads nowhere"),
        ("feature_idx", 64, "a tree asks for a column beyond the 64 that there are"),
        ("is_categorical", 1, "a tree names categories that it does not hold"),
    ],
)
def test_boosted_trees_made_to_do_damage_are_refused(
    opening: Any,
    tmp_path: Path,
    digits_card: DataCard,
    digits_xy: XY,
    field: str,
    value: int,
    told: str,
) -> None:
    X, y = digits_xy
    model = HistGradientBoostingClassifier(max_iter=1).fit(X[:300], y[:300])
    model._predictors[0][3].nodes[field][0] = value
    skops.io.dump(model, tmp_path / "m.skops")
    with pytest.raises(InputError) as caught:
        opened(opening, "sklearn:m.skops", digits_card)
    assert str(caught.value) == f"m.skops is damaged or made to do damage: {told}"


@pytest.mark.parametrize("name", ["m.pkl", "m.joblib"])
def test_pickles_need_the_flag(
    opening: Any,
    tmp_path: Path,
    diabetes_card: DataCard,
    diabetes: Batch,
    diabetes_xy: XY,
    name: str,
) -> None:
    model = GaussianNB().fit(*diabetes_xy)
    if name == "m.pkl":
        (tmp_path / name).write_bytes(pickle.dumps(model))
    else:
        joblib.dump(model, tmp_path / name)
    with pytest.raises(InputError) as caught:
        opened(opening, f"sklearn:{name}", diabetes_card)
    assert str(caught.value) == (
        f"{name} is a pickle, which can run any code when it is read: save the model as .skops, "
        "or pass --allow-pickle"
    )
    check_adapter(
        lambda: opened(opening, f"sklearn:{name}", diabetes_card, allow_pickle=True), diabetes
    )


def test_another_version_is_a_note(
    opening: Any, tmp_path: Path, diabetes_card: DataCard, diabetes_xy: XY
) -> None:
    model = GaussianNB().fit(*diabetes_xy)
    state = model.__getstate__() | {"_sklearn_version": "1.0"}
    model.__class__ = type(
        "GaussianNB",
        (GaussianNB,),
        {"__getstate__": lambda self: state, "__module__": GaussianNB.__module__},
    )
    skops.io.dump(model, tmp_path / "m.skops")
    notes = opened(opening, "sklearn:m.skops", diabetes_card).diagnostics()["notes"]
    assert len(notes) == 1
    assert notes[0].startswith("Trying to unpickle estimator GaussianNB from version 1.0 when")


def test_perceptrons_are_read(
    opening: Any, tmp_path: Path, diabetes_card: DataCard, diabetes: Batch, diabetes_xy: XY
) -> None:
    X, y = diabetes_xy
    model = make_pipeline(StandardScaler(), MLPClassifier((4,), max_iter=500, random_state=0))
    skops.io.dump(model.fit(X, y), tmp_path / "m.skops")
    check_adapter(lambda: opened(opening, "sklearn:m.skops", diabetes_card), diabetes)
