"""`sklearn:`: conformance on many estimators, trust, classes, columns, and mistakes."""

from __future__ import annotations

import contextlib
import io
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    IsolationForest,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.multioutput import MultiOutputClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from crucibench.contracts.adapter import Adapter
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.contracts.data import DataCard
from crucibench.contracts.task import Modality, Task
from crucibench.contracts.uri import parse_uri
from crucibench.testing import check_adapter
from crucibench.util.errors import InputError
from crucibench_adapters.sklearn_estimator import SklearnAdapter

Write = Callable[[str, str], Path]
XY = tuple[Any, Any]


def opened(opening: Any, uri: str, card: DataCard, **options: Any) -> Any:
    return SklearnAdapter.open(opening(uri, card, **options))


# Every form keeps the contract, and scikit-learn's own types are read.

CLASSIFIERS = [
    make_pipeline(StandardScaler(), LogisticRegression(max_iter=200)),
    RandomForestClassifier(5, max_depth=4, random_state=0),
    ExtraTreesClassifier(5, max_depth=4, random_state=0),
    GradientBoostingClassifier(n_estimators=3, random_state=0),
    HistGradientBoostingClassifier(max_iter=3, random_state=0),
    AdaBoostClassifier(n_estimators=3, random_state=0),
    BaggingClassifier(n_estimators=3, max_features=0.5, random_state=0),
    DecisionTreeClassifier(max_depth=4, random_state=0),
    VotingClassifier([("a", GaussianNB()), ("b", DecisionTreeClassifier(random_state=0))]),
    StackingClassifier(
        [("a", GaussianNB()), ("b", DecisionTreeClassifier(random_state=0))],
        final_estimator=RandomForestClassifier(3, random_state=0),
        passthrough=True,
        cv=2,
    ),
    make_pipeline(SelectKBest(k=5), RandomForestClassifier(3, random_state=0)),
    GridSearchCV(LogisticRegression(max_iter=500), {"C": [0.1, 1.0]}, cv=2, scoring="f1_macro"),
    GaussianNB(),
    LinearDiscriminantAnalysis(),
    KNeighborsClassifier(algorithm="brute"),
    make_pipeline(StandardScaler(), SVC()),
    make_pipeline(StandardScaler(), LinearSVC()),
    RidgeClassifier(),
]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("estimator", CLASSIFIERS, ids=lambda e: type(e).__name__)
def test_classifiers(
    opening: Any,
    tmp_path: Path,
    diabetes_card: DataCard,
    diabetes: Batch,
    diabetes_xy: XY,
    estimator: Any,
) -> None:
    X, y = diabetes_xy
    estimator.fit(X, y)
    skops.io.dump(estimator, tmp_path / "model.skops")

    def open_adapter() -> Adapter:
        return opened(opening, "sklearn:model.skops", diabetes_card)

    check_adapter(open_adapter, diabetes)
    adapter = open_adapter()
    scored = hasattr(estimator, "predict_proba") or hasattr(estimator, "decision_function")
    assert (Capability.SCORES in adapter.capabilities) == scored
    want = frozenset({"scores", "labels"} if scored else {"labels"})
    outputs = adapter.predict(diabetes, want)
    assert outputs.labels is not None
    names = np.array(["low", "high"])[outputs.labels]
    assert (names == estimator.predict(diabetes.inputs)).all()
    if hasattr(estimator, "predict_proba"):
        expected = estimator.predict_proba(diabetes.inputs)[:, [1, 0]]  # classes_ is high, low
        assert np.array_equal(outputs.scores, expected)


@pytest.mark.parametrize(
    "estimator",
    [
        LinearRegression(),
        RandomForestRegressor(3, max_depth=4, random_state=0),
        GradientBoostingRegressor(n_estimators=3, random_state=0),
        HistGradientBoostingRegressor(max_iter=3, random_state=0),
    ],
    ids=lambda e: type(e).__name__,
)
def test_regressors(
    opening: Any,
    tmp_path: Path,
    diabetes_regression_card: DataCard,
    diabetes: Batch,
    diabetes_frame: pd.DataFrame,
    estimator: Any,
) -> None:
    estimator.fit(diabetes_frame.drop(columns="target"), diabetes_frame["target"])
    skops.io.dump(estimator, tmp_path / "model.skops")

    def open_adapter() -> Adapter:
        return opened(opening, "sklearn:model.skops", diabetes_regression_card)

    check_adapter(open_adapter, diabetes)
    values = open_adapter().predict(diabetes, frozenset({"values"})).values
    assert np.array_equal(values, estimator.predict(diabetes.inputs))


@pytest.fixture(scope="module")
def digits_model(digits_xy: XY) -> GaussianNB:
    return GaussianNB(var_smoothing=1e-2).fit(*digits_xy)


def test_images_are_flattened_and_scaled(
    opening: Any,
    digits_card: DataCard,
    digits: Batch,
    digits_xy: XY,
    digits_model: GaussianNB,
) -> None:
    def open_adapter() -> Adapter:
        return opened(opening, "sklearn:live?scale=16", digits_card, live=digits_model)

    check_adapter(open_adapter, digits)
    scores = open_adapter().predict(digits, frozenset({"scores"})).scores
    assert np.array_equal(scores, digits_model.predict_proba(digits_xy[0][:64]))


def test_text(opening: Any, tmp_path: Path) -> None:
    model = make_pipeline(TfidfVectorizer(), LogisticRegression())
    model.fit(["good day", "bad day", "good one", "bad one"], ["good", "bad", "good", "bad"])
    skops.io.dump(model, tmp_path / "model.skops")
    task = Task(kind="classification", modality=Modality.TEXT, classes=("good", "bad"))
    card = DataCard(name="t", uri="csv:t.csv", task=task, features={"text": "string"})
    batch = Batch(("a", "b", "c"), ["a good text", "a bad text", ""])
    check_adapter(lambda: opened(opening, "sklearn:model.skops", card), batch)


def test_mixed_tables_with_missing_values(opening: Any, tmp_path: Path) -> None:
    frame = pd.DataFrame({"age": [30.0, np.nan, 50.0, 20.0] * 5, "city": ["a", "b", "a", None] * 5})
    columns = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["age"]),
            ("words", OneHotEncoder(handle_unknown="ignore"), ["city"]),
        ]
    )
    model = make_pipeline(columns, LogisticRegression()).fit(frame, np.arange(20) % 2)
    skops.io.dump(model, tmp_path / "model.skops")
    task = Task(kind="classification", modality=Modality.TABLE, classes=("no", "yes"))
    card = DataCard(
        name="t", uri="csv:t.csv", task=task, features={"age": "float64", "city": "string"}
    )
    batch = Batch(("a", "b", "c"), frame.head(3))

    def open_adapter() -> Adapter:
        return opened(opening, "sklearn:model.skops", card)

    check_adapter(open_adapter, batch)
    assert Capability.MISSING_VALUES in open_adapter().capabilities
    assert open_adapter().diagnostics()["notes"] == [
        "classes are matched by index: 0 is 'no', and so on"
    ]


@pytest.mark.parametrize(
    ("estimator", "takes"),
    [
        (LogisticRegression(), False),
        (HistGradientBoostingClassifier(max_iter=2), True),
        (make_pipeline(SimpleImputer(), LogisticRegression()), True),
        (make_pipeline(StandardScaler(), LogisticRegression()), False),
        (make_pipeline(StandardScaler(), HistGradientBoostingClassifier(max_iter=2)), True),
        (RandomForestClassifier(2), True),
    ],
)
def test_missing_values_are_claimed_where_they_are_taken(
    opening: Any, diabetes_card: DataCard, diabetes_xy: XY, estimator: Any, takes: bool
) -> None:
    X, y = diabetes_xy
    estimator.fit(StandardScaler().set_output(transform="pandas").fit_transform(X), y)
    adapter = opened(opening, "sklearn:live", diabetes_card, live=estimator)
    assert (Capability.MISSING_VALUES in adapter.capabilities) == takes


def test_what_is_claimed_follows_the_methods(
    opening: Any, diabetes_card: DataCard, diabetes_xy: XY, diabetes: Batch
) -> None:
    X, y = diabetes_xy
    X = X / X.max()
    margins = opened(opening, "sklearn:live", diabetes_card, live=LinearSVC().fit(X, y))
    assert margins.score_kind == "logits"
    assert {Capability.SCORES, Capability.LOGITS} <= margins.capabilities
    assert margins.diagnostics()["notes"] == [
        "scores are the margins of decision_function, not log-odds"
    ]

    class LabelsOnly:
        classes_ = np.array(["high", "low"])

        def fit(self) -> None: ...

        def predict(self, X: Any) -> Any:
            return np.where(X[:, 2] > 25, "high", "low")

    labels = opened(opening, "sklearn:live", diabetes_card, live=LabelsOnly())
    assert labels.capabilities == {Capability.LABELS, Capability.ANY_INPUT}
    outputs = labels.predict(diabetes, frozenset({"labels"}))
    assert outputs.labels is not None
    assert ((outputs.labels == 1) == (diabetes.inputs["bmi"] > 25)).all()


def test_pairwise_margins_are_no_scores(
    opening: Any, digits_card: DataCard, digits_xy: XY, digits: Batch
) -> None:
    X, y = digits_xy
    model = SVC(decision_function_shape="ovo").fit(X[:300], y[:300])
    adapter = opened(opening, "sklearn:live?scale=16", digits_card, live=model)
    assert Capability.SCORES not in adapter.capabilities
    assert adapter.predict(digits, frozenset({"labels"})).labels is not None


def test_live_objects_that_are_taken(digits_model: GaussianNB) -> None:
    import torch

    assert SklearnAdapter.accepts(digits_model)
    assert not SklearnAdapter.accepts(LogisticRegression)
    assert not SklearnAdapter.accepts(print)
    assert not SklearnAdapter.accepts(torch.nn.Linear(1, 1))


def test_factories(
    opening: Any, write: Write, diabetes_card: DataCard, diabetes: Batch, tmp_path: Path
) -> None:
    write(
        "models.py",
        """
        from sklearn.datasets import load_diabetes
        from sklearn.ensemble import RandomForestClassifier
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import FunctionTransformer
        import numpy as np, utils

        def forest():
            X, y = load_diabetes(return_X_y=True, as_frame=True, scaled=False)
            model = make_pipeline(FunctionTransformer(utils.same), RandomForestClassifier(3))
            return model.fit(X, np.where(y > 140, "high", "low"))

        def unfitted(): return RandomForestClassifier()
        def a_class(): return RandomForestClassifier
        def nothing(): return None
        def raises(): return {}["x"]
        """,
    )
    write("utils.py", "def same(X): return X")

    def open_adapter() -> Adapter:
        return opened(opening, "sklearn:models.py:forest", diabetes_card)

    check_adapter(open_adapter, diabetes)
    first = open_adapter().fingerprint()
    assert first is not None
    assert set(first) == {"source", "weights", "preprocessing", "output", "classes"}
    write("utils.py", "def same(X): return X * 1")
    second = open_adapter().fingerprint()
    assert second is not None
    assert {key for key in first if first[key] != second[key]} == {"source", "weights"}
    for factory, told in {
        "unfitted": "models.py:unfitted: RandomForestClassifier is not fitted",
        "a_class": "models.py:a_class: expected a fitted estimator, got the class "
        "RandomForestClassifier",
        "nothing": "models.py:nothing: expected a fitted estimator, got NoneType",
        "raises": "models.py:raises raised KeyError: 'x'",
    }.items():
        with pytest.raises(InputError) as caught:
            opened(opening, f"sklearn:models.py:{factory}", diabetes_card)
        assert str(caught.value) == told
    sources = SklearnAdapter.sources(parse_uri("sklearn:models.py:forest"), tmp_path)
    assert [file.name for file in sources.files] == ["models.py", "utils.py"]


# Fingerprints of live estimators.


def test_the_digest_is_the_same_in_every_process_and_after_reading(tmp_path: Path) -> None:
    code = f"""
import skops.io
from sklearn.datasets import load_digits
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from crucibench.util.content import content_of
from crucibench_adapters._skops import load_skops
from pathlib import Path
from types import ModuleType
X, y = load_digits(return_X_y=True)
forest = RandomForestClassifier(3, random_state=0)
for model in (forest, HistGradientBoostingClassifier(max_iter=2, random_state=0)):
    model.fit(X[:100], y[:100] % 2)
    file = Path({str(tmp_path)!r}) / "m.skops"
    skops.io.dump(model, file)
    again, _ = load_skops(file, ())
    print(content_of(model).digest, content_of(again).digest)
"""
    another = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(code, {})
    assert printed.getvalue() == another.stdout
    forest, forest_read, boosting, boosting_read = another.stdout.split()
    assert forest == forest_read
    assert forest != boosting
    assert boosting_read


def _times(X: Any) -> Any:
    return X * 1


def test_a_live_estimator_s_digest_holds_the_user_s_own_code(
    opening: Any, diabetes_card: DataCard, diabetes_xy: XY
) -> None:
    def fingerprint(function: Any) -> Any:
        model = make_pipeline(FunctionTransformer(function), GaussianNB()).fit(*diabetes_xy)
        return opened(opening, "sklearn:live", diabetes_card, live=model).fingerprint()

    assert fingerprint(_times) == fingerprint(_times)
    assert fingerprint(_times) != fingerprint(np.asarray)
    assert fingerprint(lambda X: X * 2) == fingerprint(lambda X: X * 2)
    assert fingerprint(lambda X: X * 2) != fingerprint(lambda X: X * 3)
    table = iter([])
    assert fingerprint(lambda X: X * (1 if table else 2)) is None


def test_the_fingerprint_of_a_file_is_its_content(
    opening: Any, tmp_path: Path, diabetes_card: DataCard, diabetes_xy: XY
) -> None:
    skops.io.dump(GaussianNB().fit(*diabetes_xy), tmp_path / "m.skops")
    first = opened(opening, "sklearn:m.skops", diabetes_card).fingerprint()
    skops.io.dump(GaussianNB(var_smoothing=0.1).fit(*diabetes_xy), tmp_path / "m.skops")
    second = opened(opening, "sklearn:m.skops", diabetes_card).fingerprint()
    assert first is not None
    assert second is not None
    assert {key for key in first if first[key] != second[key]} == {"file", "weights"}


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("sklearn:m.skop", "'m.skop': expected FILE.skops, FILE.py:FACTORY or PKG.MOD:FACTORY, "),
        ("sklearn:mm.skops", "file 'mm.skops' does not exist; did you mean 'm.skops'?"),
        ("sklearn:m.skops?trusted=a.B", "unknown option of sklearn: 'trusted'; did you mean 'tru"),
        ("sklearn:m.skops?scale=x", "option scale: expected a number above 0, got 'x'"),
        ("sklearn:m.py", "file 'm.py' does not exist in"),
    ],
)
def test_mistakes_show_before_anything_is_loaded(
    tmp_path: Path, uri: str, told: str, refusal: Any
) -> None:
    (tmp_path / "m.skops").write_bytes(b"")
    assert refusal(InputError, lambda: SklearnAdapter.sources(parse_uri(uri), tmp_path)).startswith(
        told
    )


def test_damaged_files(opening: Any, tmp_path: Path, diabetes_card: DataCard, refusal: Any) -> None:
    (tmp_path / "m.skops").write_bytes(b"no zip")
    assert refusal(InputError, lambda: opened(opening, "sklearn:m.skops", diabetes_card)) == (
        "m.skops can't be read by skops: BadZipFile: File is not a zip file"
    )
    (tmp_path / "m.pkl").write_bytes(b"no pickle")
    with pytest.raises(InputError, match=r"^m.pkl can't be read: "):
        opened(opening, "sklearn:m.pkl", diabetes_card, allow_pickle=True)


def test_the_wrong_kind_of_estimator(
    opening: Any, diabetes_card: DataCard, diabetes_xy: XY, diabetes_frame: pd.DataFrame
) -> None:
    X, y = diabetes_xy
    for live, told in (
        (
            LinearRegression().fit(X, diabetes_frame["target"]),
            "the live LinearRegression: LinearRegression is made for regression, the data asks "
            "for classification",
        ),
        (
            IsolationForest(n_estimators=2).fit(X),
            "the live IsolationForest: IsolationForest is made for outlier_detector, the data "
            "asks for classification",
        ),
        (
            MultiOutputClassifier(GaussianNB()).fit(X, np.stack([y, y], axis=1)),
            "the live MultiOutputClassifier: MultiOutputClassifier predicts several targets at "
            "once",
        ),
    ):
        with pytest.raises(InputError) as caught:
            opened(opening, "sklearn:live", diabetes_card, live=live)
        assert str(caught.value) == told


def test_classes_are_matched_or_shown(
    opening: Any, diabetes_card: DataCard, diabetes_xy: XY, diabetes: Batch, refusal: Any
) -> None:
    X, y = diabetes_xy

    def scores(labels: Any) -> Any:
        model = GaussianNB().fit(X, labels)
        adapter = opened(opening, "sklearn:live", diabetes_card, live=model)
        return adapter.predict(diabetes, frozenset({"scores"})).scores

    by_name = scores(y)
    assert np.array_equal(scores((y == "high").astype(int)), by_name)
    assert np.array_equal(scores(y == "high"), by_name)
    assert np.array_equal(scores((y == "high").astype(np.int8)), by_name)
    assert refusal(InputError, lambda: scores(np.where(y == "high", "ill", "well"))) == (
        "the live GaussianNB: its classes are not the data's: the model has ill, well; "
        "the data has low, high"
    )


def test_columns_are_found_by_name(
    opening: Any, diabetes_card: DataCard, diabetes_xy: XY, diabetes: Batch
) -> None:
    X, y = diabetes_xy
    model = GaussianNB().fit(X[["s1", "bmi"]], y)
    adapter = opened(opening, "sklearn:live", diabetes_card, live=model)
    scores = adapter.predict(diabetes, frozenset({"scores"})).scores
    expected = model.predict_proba(diabetes.inputs[["s1", "bmi"]])[:, [1, 0]]
    assert np.array_equal(scores, expected)


def test_missing_columns_are_named(
    opening: Any, diabetes_card: DataCard, diabetes_xy: XY, diabetes: Batch, refusal: Any
) -> None:
    X, y = diabetes_xy
    renamed = X.rename(columns={"bmi": "BMI", "s1": "tc"})
    has = ", ".join(X.columns)
    assert refusal(
        InputError,
        lambda: opened(opening, "sklearn:live", diabetes_card, live=GaussianNB().fit(renamed, y)),
    ) == (
        "the live GaussianNB: the data lacks 2 of the 10 columns that it was fitted on: BMI, tc "
        f"(the data has: {has}); its id is among them only where features names it"
    )
    unnamed = GaussianNB().fit(X.to_numpy()[:, :4], y)
    assert refusal(
        InputError, lambda: opened(opening, "sklearn:live", diabetes_card, live=unnamed)
    ) == ("the live GaussianNB: it was fitted on 4 columns without names, the data has 10: " + has)
    whole = GaussianNB().fit(X.to_numpy(), y)
    check_adapter(lambda: opened(opening, "sklearn:live", diabetes_card, live=whole), diabetes)


def test_scale_is_for_images(opening: Any, diabetes_card: DataCard, diabetes_xy: XY) -> None:
    with pytest.raises(InputError, match=r"^the live GaussianNB: option scale is for images$"):
        opened(
            opening,
            "sklearn:live?scale=16",
            diabetes_card,
            live=GaussianNB().fit(*diabetes_xy),
        )


class Foreign(GaussianNB):
    pass


def test_foreign_types_must_be_trusted_by_name(
    opening: Any, tmp_path: Path, diabetes_card: DataCard, diabetes_xy: XY, refusal: Any
) -> None:
    skops.io.dump(Foreign().fit(*diabetes_xy), tmp_path / "m.skops")
    name = f"{__name__}.Foreign"
    assert refusal(InputError, lambda: opened(opening, "sklearn:m.skops", diabetes_card)) == (
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
        "xgboost.core.Thing",  # installed or not
        "xgboost.sklearn.os",
        "xgboost.callback.EarlyStopping",
        "lightgbm.basic.Dataset",
        "lightgbm.sklearn.Path",
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


def test_boosters_are_taken_where_their_library_is_installed(
    opening: Any, tmp_path: Path, diabetes_card: DataCard, diabetes_xy: XY,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from crucibench_adapters._skops import _is_own

    assert not _is_own("xgboost.sklearn.XGBClassifier") or "xgboost" in sys.modules
    # What stands for the libraries has the shape of theirs: an estimator that holds a booster.
    for package, module in (("xgboost", "core"), ("lightgbm", "basic")):
        names = (package, f"{package}.{module}", f"{package}.sklearn")
        _, basic, estimators = (ModuleType(name) for name in names)
        booster = type("Booster", (), {"__module__": names[1]})
        own = type("Boosted", (GaussianNB,), {"__module__": names[2]})
        basic.Booster, basic.Dataset = booster, type("Dataset", (), {"__module__": names[1]})  # type: ignore[attr-defined]
        estimators.Boosted, estimators.Booster = own, booster  # type: ignore[attr-defined]
        for name, made in zip(names, (ModuleType(package), basic, estimators), strict=True):
            monkeypatch.setitem(sys.modules, name, made)
        model = own().fit(*diabetes_xy)
        model._Booster = booster()
        model._Booster.handle = bytearray(b"trees")
        skops.io.dump(model, tmp_path / "m.skops")
        assert opened(opening, "sklearn:m.skops", diabetes_card)
        assert not _is_own(f"{names[1]}.Dataset")
        assert not _is_own(f"{names[2]}.Booster")


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
    refusal: Any,
) -> None:
    model = RandomForestClassifier(2, random_state=0).fit(*digits_xy)
    tree = model.estimators_[1].tree_
    state = tree.__getstate__()
    state["nodes"] = state["nodes"].copy()
    state["nodes"][field][0] = value
    tree.__setstate__(state)
    model.estimators_[1].n_features_in_ = 10**6
    skops.io.dump(model, tmp_path / "m.skops")
    assert (
        refusal(InputError, lambda: opened(opening, "sklearn:m.skops", digits_card))
        == f"m.skops is damaged or made to do damage: {told}"
    )


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
    refusal: Any,
) -> None:
    X, y = digits_xy
    model = HistGradientBoostingClassifier(max_iter=1).fit(X[:300], y[:300])
    model._predictors[0][3].nodes[field][0] = value
    skops.io.dump(model, tmp_path / "m.skops")
    assert (
        refusal(InputError, lambda: opened(opening, "sklearn:m.skops", digits_card))
        == f"m.skops is damaged or made to do damage: {told}"
    )


@pytest.mark.parametrize("name", ["m.pkl", "m.joblib"])
def test_pickles_need_the_flag(
    opening: Any,
    tmp_path: Path,
    diabetes_card: DataCard,
    diabetes: Batch,
    diabetes_xy: XY,
    name: str,
    refusal: Any,
) -> None:
    model = GaussianNB().fit(*diabetes_xy)
    if name == "m.pkl":
        (tmp_path / name).write_bytes(pickle.dumps(model))
    else:
        joblib.dump(model, tmp_path / name)
    assert refusal(InputError, lambda: opened(opening, f"sklearn:{name}", diabetes_card)) == (
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


# Forms of an estimator: threads where answering heeds them; weights where there are some.

SCORES = frozenset({"scores"})


def opened_one(opening: Any, card: DataCard, estimator: Any) -> SklearnAdapter:
    found = SklearnAdapter.open(opening("live:model", card, live=estimator))
    assert isinstance(found, SklearnAdapter)
    return found


@pytest.fixture(scope="module")
def forest(digits_xy: tuple[Any, Any]) -> Any:
    X, y = digits_xy
    return make_pipeline(
        StandardScaler(), RandomForestClassifier(n_estimators=8, max_depth=4, random_state=0)
    ).fit(X[:300] / 16, y[:300])


def test_a_forest_answers_alike_with_any_threads(
    opening: Any, digits_card: DataCard, digits: Batch, forest: Any
) -> None:
    adapter = opened_one(opening, digits_card, forest)
    variant = adapter.with_variant("threads-2")
    assert forest[-1].n_jobs is None  # the caller's own estimator stays as it is
    assert variant._estimator[-1].n_jobs == 2  # type: ignore[attr-defined]
    plain, other = (one.predict(digits, SCORES).scores for one in (adapter, variant))
    np.testing.assert_allclose(plain, other, atol=1e-12)
    assert variant.numerics()["n_jobs"] == "2"
    assert adapter.with_variant("fp32") is adapter


def test_a_variant_is_told_from_the_model_by_its_fingerprint(
    opening: Any, digits_card: DataCard, forest: Any, tmp_path: Path
) -> None:
    skops.io.dump(forest, tmp_path / "forest.skops")
    adapter = SklearnAdapter.open(opening("sklearn:forest.skops", digits_card))
    kept, changed = adapter.fingerprint(), adapter.with_variant("threads-2").fingerprint()
    assert kept is not None and changed == {**kept, "variant": "threads-2"}


def test_variants_that_there_are_not(
    opening: Any, digits_card: DataCard, digits_xy: tuple[Any, Any], forest: Any
) -> None:
    X, y = digits_xy
    linear = LogisticRegression(max_iter=20, tol=1.0).fit(X[:200] / 16, y[:200])
    for model, variant, message in (
        (linear, "threads-2", "LogisticRegression does not divide the work"),
        (forest, "thread-2", "unknown variant 'thread-2'; did you mean 'threads-1'"),
        (forest, "int8", "unknown variant 'int8'"),
    ):
        with pytest.raises(InputError, match=message):
            opened_one(opening, digits_card, model).with_variant(variant)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_weights_are_counted_where_there_are_some(
    opening: Any, digits_card: DataCard, digits_xy: tuple[Any, Any], forest: Any
) -> None:
    X, y = digits_xy[0][:200] / 16, digits_xy[1][:200]
    linear = LogisticRegression(max_iter=20, tol=1.0).fit(X, y)
    layers = MLPClassifier((5,), max_iter=1, random_state=0).fit(X, y)
    told = [opened_one(opening, digits_card, one).diagnostics() for one in (linear, layers, forest)]
    assert told[0]["parameters"] == 64 * 10 + 10
    assert told[1]["parameters"] == 64 * 5 + 5 + 5 * 10 + 10
    assert "parameters" not in told[2]
