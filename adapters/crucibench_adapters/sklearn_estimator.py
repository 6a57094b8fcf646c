"""``sklearn:``: fitted estimators, from a ``.skops`` file, a factory, a pickle, or live.

Images reach an estimator flattened, shape (N, C * H * W), as float64 in [0, 1] times ``scale``.
A table reaches it as the frame's own columns by name if it was fitted on named columns, else as an
array of all columns in their order.
"""

from __future__ import annotations

import contextlib
import copy
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.adapter import Adapter, Answer, Normalisation, Opening, Request, Sources
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.contracts.task import Modality
from crucibench.contracts.tree import Forest, Linear, Tree
from crucibench.contracts.uri import URI, existing_file
from crucibench.util.content import Content, OpaqueError, content_of, steady_content
from crucibench.util.errors import InputError
from crucibench.util.hashing import data_digest, file_digest
from crucibench.util.libraries import library_versions
from crucibench.util.loading import call_factory, load_factory, parse_factory
from crucibench.util.suggest import unknown
from crucibench.util.user_errors import one_line, user_traceback
from crucibench_adapters._classes import ClassMap, plain_name
from crucibench_adapters._outputs import capabilities_of
from crucibench_adapters._preprocessing import described_preprocessing, made_up, stored_form
from crucibench_adapters.boosters import is_booster, read_booster

_OPTIONS = ("trust", "scale")
_PICKLES = (".pkl", ".pickle", ".joblib")
_Method = Literal["predict_proba", "decision_function", "predict"]


class SklearnAdapter(Adapter):
    """A fitted scikit-learn estimator, or one that behaves like it.

    A classifier answers with probabilities if it has `predict_proba`; else with the margins of
    `decision_function`, taken as logits (a single column z becomes [0, z]), which rank but are no
    log-odds; else with labels alone. Options: ``trust=TYPE,TYPE`` (types in a .skops file that are
    not scikit-learn's own), ``scale=X`` (what the canonical [0, 1] of images is multiplied by).
    """

    libraries: ClassVar[tuple[str, ...]] = (
        "sklearn.ensemble", "sklearn.linear_model", "crucibench_adapters._skops_io",
    )  # fmt: skip

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        uri.only(*_OPTIONS)
        _scale(uri)
        file = _file(uri, base)
        if file is not None:
            return Sources((file,))
        ref = parse_factory(uri.rest, base)
        return Sources(ref.files, ref.facts)

    @classmethod
    def accepts(cls, model: object) -> bool:
        torch = sys.modules.get("torch")
        if isinstance(model, type) or (torch and isinstance(model, torch.nn.Module)):
            return False
        return hasattr(model, "fit") and hasattr(model, "predict")

    @classmethod
    def open(cls, opening: Opening) -> Adapter:
        opening.uri.only(*_OPTIONS)
        digests: dict[str, str] = {}
        notes: list[str] = []
        folders = [opening.base]
        if opening.live is not None:
            what, estimator = f"the live {type(opening.live).__name__}", opening.live
        elif (file := _file(opening.uri, opening.base)) is not None:
            what = file.name
            estimator, notes = _read(file, opening)
            digests = {"file": file_digest(file)}
        else:
            ref = parse_factory(opening.uri.rest, opening.base)
            what = str(ref)
            estimator = call_factory(load_factory(ref), what)
            if isinstance(estimator, Adapter):
                return estimator
            digests = {"source": ref.identity()}
            folders.append(ref.root)
        return cls(estimator, what, opening, digests, notes, folders=folders)

    def __init__(
        self,
        estimator: Any,
        what: str,
        opening: Opening,
        digests: Mapping[str, str],
        notes: Sequence[str],
        *,
        folders: Sequence[Path],
    ) -> None:
        _check_estimator(estimator, what, opening)
        self.task = opening.data.task
        self.input_spec = stored_form(opening.data)
        self._opening = opening
        self._estimator = estimator
        self._what = what
        self._columns = list(opening.data.features)
        self._digests = digests
        self._folders = folders
        self._content: Content | OpaqueError | None = None
        self._threads: int | None = None
        self._notes = list(notes)
        self._scale = _scale(opening.uri)
        if "scale" in opening.uri.query and self.task.modality is not Modality.IMAGE:
            raise InputError(f"{what}: option scale is for images")
        self._method: _Method = "predict"
        self._classes = ClassMap.by_position(0)
        if not self.task.one_number:
            named = _classes(estimator, what) if self.task.one_class else None
            self._classes = ClassMap.match(named, self.task, what, declared=opening.classes)
            self._notes += [self._classes.note] if self._classes.note else []
            self._method = _method(estimator)
            if self._method == "predict" and not self.task.one_class:
                raise InputError(
                    f"{what}: {type(estimator).__name__} gives no scores (predict_proba or "
                    f"decision_function), which {self.task.kind} needs"
                )
            self.score_kind = "logits" if self._method == "decision_function" else "probabilities"
            if self._method == "decision_function":
                self._notes.append("scores are the margins of decision_function, not log-odds")
        if self.task.modality is Modality.TABLE and opening.data.features:
            self._check_columns(list(opening.data.features))
        self.capabilities = self._claimed()

    def _predict(self, batch: Batch, want: Request) -> Answer:
        inputs = self._inputs(batch)
        if self.task.one_number:
            values = np.asarray(self._estimator.predict(inputs), dtype=np.float64)
            return Answer(values=values.ravel() if values.size == len(batch) else values)
        scores = self._scores(inputs) if want != {"labels"} or self._rescored else None
        labels = None
        if scores is None or ("labels" in want and not self._rescored):
            labels = self._labels(inputs)
        elif "labels" in want and scores.ndim == 2:
            labels = scores.argmax(axis=1)
        return Answer(scores=scores, labels=labels)

    def fingerprint(self) -> Mapping[str, str] | None:
        content = self._whole_content()
        if isinstance(content, OpaqueError):
            return None
        return {
            **self._digests,
            "weights": content.digest,
            "preprocessing": data_digest({"scale": self._scale}),
            "output": data_digest({"method": self._method}),
            **self._classes.fingerprint(),
            **({} if self._threads is None else {"variant": f"threads-{self._threads}"}),
        }

    def unidentified(self) -> str:
        content = self._whole_content()
        return content.sentence if isinstance(content, OpaqueError) else ""

    def _whole_content(self) -> Content | OpaqueError:
        """Returns all that the estimator holds, code of the user's included; or what can't be told.

        What changes by asking does not tell one estimator from another.
        """
        if self._content is None:
            stored = "file" in self._digests
            try:
                self._content = steady_content(
                    lambda: content_of(self._estimator, folders=self._folders, stored=stored),
                    self._ask_made_up,
                )
            except OpaqueError as error:
                self._content = error
        return self._content

    def _ask_made_up(self, question: int) -> None:
        with contextlib.suppress(Exception), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            batch = made_up(self._opening.data, self.input_spec)
            if batch is not None:
                self._predict(batch.take(range(question, len(batch))), frozenset())

    def tree(self) -> Tree:
        if not (is_tree(self._estimator) and Capability.TREE in self.capabilities):
            return super().tree()
        names = getattr(self._estimator, "feature_names_in_", self._columns)
        return read_tree(
            self._estimator, list(names),
            lambda shares: self._classes.apply_scores(shares, self.score_kind),
        )  # fmt: skip

    def formula(self) -> Forest | Linear:
        if self._classes.narrowing or self._classes.merging:
            raise InputError("its classes are more than the data's")
        found = read_formula(self._estimator, 1 / self._scale)
        columns = [own for (own,) in self._classes.columns]
        if isinstance(found, Linear):
            return Linear(weight=found.weight[columns], bias=found.bias[columns])
        return Forest(
            trees=found.trees, scores=tuple(one[:, columns] for one in found.scores),
            base=found.base[columns],
        )  # fmt: skip

    def with_variant(self, name: str) -> Adapter:
        if name == "fp32":
            return self
        self._whole_content()  # of the estimator itself, and so of its variants
        variant = copy.copy(self)
        try:
            variant._estimator, variant._threads = in_threads(self._estimator, name)
        except InputError as error:
            raise InputError(f"{self._what}: {error}") from error
        return variant

    def diagnostics(self) -> Mapping[str, Any]:
        weights = count_weights(self._estimator)
        return {
            "notes": list(self._notes),
            **({} if weights is None else {"parameters": weights}),
            "preprocessing": self._preprocessing(),
            **self._classes.diagnostics(),
        }

    def numerics(self) -> Mapping[str, str]:
        import scipy
        import sklearn

        return {
            "scikit-learn": sklearn.__version__,
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "device": "cpu",
            **library_versions(self._libraries()),
            **({} if self._threads is None else {"n_jobs": str(self._threads)}),
        }

    def _libraries(self) -> frozenset[str]:
        content = self._whole_content()
        return frozenset() if isinstance(content, OpaqueError) else content.libraries

    def _preprocessing(self) -> dict[str, str]:
        if self.task.modality is not Modality.IMAGE:
            named = hasattr(self._estimator, "feature_names_in_")
            table = "columns by name" if named else "all columns in their order"
            text = self.task.modality is Modality.TEXT
            return {"encoding": "texts as they are" if text else table}
        scale = None if self._scale == 1 else Normalisation(scale=self._scale)
        return described_preprocessing(self.input_spec, scale, "float64", "N x (C * H * W)")

    @property
    def _rescored(self) -> bool:
        """Whether the best of the data's classes may be another than `predict` would name."""
        changed = self._classes.narrowing or self._classes.merging
        return changed and self._method != "predict"

    def _claimed(self) -> frozenset[Capability]:
        kind = "labels" if self._method == "predict" else self.score_kind
        claimed = capabilities_of("values" if self.task.one_number else kind)
        if self.task.modality is Modality.TABLE and _missing(self._estimator)[0]:
            claimed |= {Capability.MISSING_VALUES}
        if self.task.modality is Modality.TABLE and self._method == "predict_proba":
            claimed |= {Capability.TREE} if is_tree(self._estimator) else set()
        return claimed

    def _inputs(self, batch: Batch) -> Any:
        if self.task.modality is Modality.TEXT:
            return batch.inputs
        if self.task.modality is Modality.IMAGE:
            flat = batch.inputs.reshape(len(batch), -1).cpu().numpy()
            return flat.astype(np.float64) * self._scale
        frame = batch.inputs
        self._check_columns(list(frame.columns))
        names = getattr(self._estimator, "feature_names_in_", None)
        if names is not None:
            return frame[list(names)]
        numbers = all(frame[name].dtype.kind in "biuf" for name in frame.columns)
        return frame.to_numpy(dtype=np.float64 if numbers else object)

    def _check_columns(self, columns: list[str]) -> None:
        names = getattr(self._estimator, "feature_names_in_", None)
        if names is None:
            count = getattr(self._estimator, "n_features_in_", len(columns))
            if count != len(columns):
                raise InputError(
                    f"{self._what}: it was fitted on {count} columns without names, the data has "
                    f"{len(columns)}: {', '.join(columns)}"
                )
            return
        missing = [name for name in names if name not in columns]
        if missing:
            raise InputError(
                f"{self._what}: the data lacks {len(missing)} of the {len(names)} columns that it "
                f"was fitted on: {', '.join(missing)} (the data has: {', '.join(columns)}); its id "
                "is among them only where features names it"
            )

    def _scores(self, inputs: Any) -> NDArray[np.float64] | None:
        if self._method == "predict":
            return None
        found = getattr(self._estimator, self._method)(inputs)
        if not self.task.one_class:
            found = _of_labels(found, self._estimator)
        scores = np.asarray(found, dtype=np.float64)
        if scores.ndim == 1 and self._classes.width == 2:
            scores = np.stack([np.zeros_like(scores), scores], axis=1)
        return self._classes.apply_scores(scores, self.score_kind)

    def _labels(self, inputs: Any) -> NDArray[np.int64]:
        place = {plain_name(entry): at for at, entry in enumerate(self._estimator.classes_)}
        predicted = np.asarray(self._estimator.predict(inputs)).ravel()
        own = np.array([place[plain_name(entry)] for entry in predicted], dtype=np.int64)
        return self._classes.apply_labels(own)


def _file(uri: URI, base: Path) -> Path | None:
    """Returns the file that holds the estimator, or None if `uri` names a factory."""
    suffix = Path(uri.rest).suffix
    if suffix == ".skops" or suffix in _PICKLES:
        return existing_file(base, uri.rest, "file")
    if suffix and ":" not in uri.rest and suffix != ".py":
        raise InputError(
            f"{uri.rest!r}: expected FILE.skops, FILE.py:FACTORY or PKG.MOD:FACTORY, or with "
            "--allow-pickle FILE.pkl or FILE.joblib"
        )
    return None


def _read(file: Path, opening: Opening) -> tuple[Any, list[str]]:
    if file.suffix == ".skops":
        from crucibench_adapters._skops import load_skops

        return load_skops(file, opening.uri.names("trust"))
    if not opening.allow_pickle:
        raise InputError(
            f"{file.name} is a pickle, which can run any code when it is read: save the model as "
            ".skops, or pass --allow-pickle"
        )
    import joblib

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            estimator = joblib.load(file)
        except Exception as error:
            message = f"{file.name} can't be read: {one_line(error)}"
            raise InputError(message, detail=user_traceback(error)) from error
    return estimator, [str(warning.message).splitlines()[0] for warning in caught]


def _scale(uri: URI) -> float:
    text = uri.query.get("scale", "1")
    try:
        scale = float(text)
    except ValueError:
        scale = 0.0
    if not 0 < scale < float("inf"):
        raise InputError(f"option scale: expected a number above 0, got {text!r}")
    return scale


def _check_estimator(estimator: Any, what: str, opening: Opening) -> None:
    """Raises InputError unless it is a fitted estimator of the task's kind."""
    from sklearn.base import BaseEstimator
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    if isinstance(estimator, type) or not hasattr(estimator, "predict"):
        shown = estimator.__name__ if isinstance(estimator, type) else type(estimator).__name__
        kind = "the class " if isinstance(estimator, type) else ""
        raise InputError(f"{what}: expected a fitted estimator, got {kind}{shown}")
    if isinstance(estimator, BaseEstimator):
        try:
            check_is_fitted(estimator)
        except NotFittedError as error:
            raise InputError(f"{what}: {type(estimator).__name__} is not fitted") from error
    kind, task = _kind(estimator), opening.data.task
    if kind != task.kind and (kind != "classification" or task.one_class or task.one_number):
        raise InputError(
            f"{what}: {type(estimator).__name__} is made for {kind}, the data asks for "
            f"{opening.data.task.kind}"
        )


def _kind(estimator: Any) -> str:
    from sklearn.base import BaseEstimator, is_classifier, is_regressor
    from sklearn.utils import get_tags

    if not isinstance(estimator, BaseEstimator):
        return "classification" if hasattr(estimator, "classes_") else "regression"
    if is_classifier(estimator):
        return "classification"
    if is_regressor(estimator):
        return "regression"
    return str(get_tags(estimator).estimator_type or "neither classification nor regression")


def _classes(estimator: Any, what: str) -> list[Any]:
    classes = getattr(estimator, "classes_", None)
    if classes is None:
        raise InputError(f"{what}: {type(estimator).__name__} does not name its classes (classes_)")
    if any(isinstance(entry, list | np.ndarray) for entry in classes):
        raise InputError(f"{what}: {type(estimator).__name__} predicts several targets at once")
    return list(classes)


def _of_labels(found: Any, estimator: Any) -> Any:
    """Returns the probability of each label, (N, K), of one array a label or one for all."""
    if not isinstance(found, list):
        return found
    columns = []
    for scores, classes in zip(found, estimator.classes_, strict=True):
        has = np.flatnonzero(np.asarray(classes) == 1)  # none: no sample of training had it
        columns.append(scores[:, has[0]] if len(has) else np.zeros(len(scores)))
    return np.stack(columns, axis=1)


def _method(estimator: Any) -> _Method:
    if hasattr(estimator, "predict_proba"):
        return "predict_proba"
    pairwise = getattr(estimator, "decision_function_shape", "ovr") == "ovo"
    if hasattr(estimator, "decision_function") and not (pairwise and len(estimator.classes_) > 2):
        return "decision_function"
    return "predict"


def _missing(estimator: Any) -> tuple[bool, bool]:
    """Returns whether `estimator` takes missing values, and whether none leave it."""
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline
    from sklearn.utils import get_tags

    if isinstance(estimator, str):
        return True, False  # passthrough, drop
    if isinstance(estimator, Pipeline):
        for _, step in estimator.steps:
            takes, removes = _missing(step)
            if not takes or removes:
                return takes, removes
        return True, False
    if isinstance(estimator, ColumnTransformer):
        parts = [_missing(part) for name, part, _ in estimator.transformers_ if part != "drop"]
        return all(takes for takes, _ in parts), all(removes for _, removes in parts)
    try:
        takes = bool(get_tags(estimator).input_tags.allow_nan)
    except (AttributeError, TypeError, ValueError):
        return False, False
    name = type(estimator).__name__
    return takes, takes and (name.endswith("Imputer") or name in {"OneHotEncoder", "TargetEncoder"})


_NAMES = ("coef_", "intercept_", "coefs_", "intercepts_")


def count_weights(estimator: Any) -> int | None:
    """Returns the weights of a linear model or a network of layers; None for other kinds."""
    count = 0
    for name in _NAMES:
        value = getattr(estimator, name, None)
        if isinstance(value, np.ndarray | float | list):
            arrays = value if isinstance(value, list) else [value]
            count += sum(np.size(array) for array in arrays)
    return count or None


_THREADS = re.compile(r"threads-([1-9]\d{0,2})")


def in_threads(estimator: Any, name: str) -> tuple[Any, int]:
    """Returns a copy of `estimator` that answers with the threads that a variant names, and how
    many those are.

    Raises:
        InputError: if there is no such variant, or the estimator's answers take one thread anyway.
    """
    threads = _THREADS.fullmatch(name)
    if threads is None:
        raise InputError(unknown("variant", name, ("fp32", "threads-1")))
    count = int(threads[1])
    made = copy.deepcopy(estimator)
    parts = [part for part in _parts(made) if _divides(part)]
    if not parts:
        raise InputError(
            f"variant {name!r} is one for forests, bagging and nearest neighbours (n_jobs): "
            f"{type(estimator).__name__} does not divide the work of an answer"
        )
    for part in parts:
        part.set_params(n_jobs=count)
    return made, count


def _parts(estimator: Any) -> list[Any]:
    from sklearn.pipeline import Pipeline

    if isinstance(estimator, Pipeline):
        return [part for _, step in estimator.steps for part in _parts(step)]
    return [estimator]


def _divides(part: Any) -> bool:
    """Whether answering, and not only fitting, heeds ``n_jobs``."""
    from sklearn.ensemble import BaggingClassifier, BaggingRegressor
    from sklearn.ensemble._forest import BaseForest
    from sklearn.neighbors._base import NeighborsBase

    kinds = (BaseForest, BaggingClassifier, BaggingRegressor, NeighborsBase)
    return isinstance(part, kinds) and "n_jobs" in part.get_params()


_LEAF = -2
"""scikit-learn's number of the column of a leaf."""


def is_tree(estimator: Any) -> bool:
    """Whether it is a decision tree for classes, alone and of one target."""
    from sklearn.tree import DecisionTreeClassifier

    return isinstance(estimator, DecisionTreeClassifier) and estimator.n_outputs_ == 1


def read_tree(
    estimator: Any,
    columns: Sequence[str],
    scores: Callable[[NDArray[np.float64]], NDArray[np.floating[Any]]],
) -> Tree:
    """Returns the tree.

    Args:
        estimator: for which `is_tree` holds.
        columns: names of the columns that it was fitted on, in their order.
        scores: from shares of the estimator's classes (nodes, classes) to scores of the data's.
    """
    held = estimator.tree_
    shares = held.value[:, 0, :]
    shares = shares / shares.sum(axis=1, keepdims=True)
    missing = getattr(held, "missing_go_to_left", np.zeros(held.node_count))
    return Tree(
        columns=tuple(columns),
        column=np.where(held.feature == _LEAF, -1, held.feature).astype(np.int64),
        threshold=held.threshold.astype(np.float64),
        left=held.children_left.astype(np.int64),
        right=held.children_right.astype(np.int64),
        missing_left=missing.astype(np.bool_),
        label=np.asarray(scores(shares).argmax(axis=1), dtype=np.int64),
    )


def read_formula(estimator: Any, unit: float) -> Forest | Linear:
    """Returns a forest, boosted trees or a linear model of its own classes.

    Args:
        estimator: a fitted classifier of one target.
        unit: what 1 of the estimator's inputs is of the sample's.

    Raises:
        InputError: if it is something else.
    """
    from sklearn.ensemble import (
        ExtraTreesClassifier,
        GradientBoostingClassifier,
        HistGradientBoostingClassifier,
        RandomForestClassifier,
    )
    from sklearn.linear_model import LogisticRegression, RidgeClassifier, SGDClassifier
    from sklearn.svm import LinearSVC

    width = int(getattr(estimator, "n_features_in_", 0))
    if isinstance(estimator, LogisticRegression | RidgeClassifier | SGDClassifier | LinearSVC):
        weight = np.asarray(estimator.coef_, dtype=np.float64) / unit
        bias = np.broadcast_to(np.asarray(estimator.intercept_, dtype=np.float64), len(weight))
        return Linear(weight=_both(weight, axis=0), bias=_both(bias, axis=0))
    if is_booster(estimator):
        held, start = read_booster(estimator)
        adds = [(one, _at(gives, at % len(start), len(start)))
                for at, (one, gives) in enumerate(held)]  # fmt: skip
        rounding = _FLOAT32 * len(adds)
        return replace(_forest(adds, _both(start, axis=0), unit, width), rounding=rounding)
    if is_tree(estimator):
        return _forest([(estimator.tree_, _shares(estimator.tree_))], None, unit, width)
    if isinstance(estimator, RandomForestClassifier | ExtraTreesClassifier):
        held = [one.tree_ for one in estimator.estimators_]
        return _forest([(one, _shares(one) / len(held)) for one in held], None, unit, width)
    if isinstance(estimator, GradientBoostingClassifier):
        start = estimator._raw_predict_init(np.zeros((1, estimator.n_features_in_)))[0]
        if not (estimator.init_ == "zero" or type(estimator.init_).__name__ == "DummyClassifier"):
            raise InputError("it boosts an estimator of its own")
        stages, rate = estimator.estimators_, estimator.learning_rate
        adds = [(one.tree_, _at(rate * one.tree_.value[:, 0, 0], at, len(start)))
                for stage in stages for at, one in enumerate(stage)]  # fmt: skip
        return _forest(adds, _both(start, axis=0), unit, width)
    if isinstance(estimator, HistGradientBoostingClassifier):
        if estimator.is_categorical_ is not None:
            raise InputError("its trees split categories")
        start = np.ravel(estimator._baseline_prediction)
        adds = [
            (_Nodes(one.nodes), _at(one.nodes["value"].astype(np.float64), at, len(start)))
            for stage in estimator._predictors
            for at, one in enumerate(stage)
        ]
        return _forest(adds, _both(start, axis=0), unit, width)
    raise InputError(f"{type(estimator).__name__} is no kind of trees or linear model known here")


_FLOAT32 = 2.0**-22
"""Relative: what adding up in float32, and making probabilities of it, may lose a tree."""


class _Nodes:
    """The nodes of a histogram tree, named as those of other trees."""

    def __init__(self, nodes: Any) -> None:
        leaf = nodes["is_leaf"] > 0
        self.feature = np.where(leaf, _LEAF, nodes["feature_idx"].astype(np.int64))
        self.threshold = nodes["num_threshold"]
        self.children_left, self.children_right = nodes["left"], nodes["right"]
        self.node_count = len(nodes)


def _shares(held: Any) -> NDArray[np.float64]:
    """Returns the share of each class in each node, (nodes, K)."""
    value = held.value[:, 0, :]
    return np.asarray(value / value.sum(axis=1, keepdims=True), dtype=np.float64)


def _both(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Returns scores of two classes where there is one, which speaks for the second."""
    if len(values) > 1:
        return np.asarray(values)
    return np.concatenate([np.zeros_like(values), values], axis=axis)


def _at(values: NDArray[np.float64], at: int, width: int) -> NDArray[np.float64]:
    """Returns what nodes add to each class, (nodes, K), which is to one."""
    found = np.zeros((len(values), max(width, 2)))
    found[:, at if width > 1 else 1] = values
    return found


def _forest(
    held: Sequence[tuple[Any, NDArray[np.float64]]],
    base: NDArray[np.float64] | None,
    unit: float,
    columns: int,
) -> Forest:
    trees = tuple(
        Tree(
            columns=tuple(map(str, range(columns))),
            column=np.where(one.feature == _LEAF, -1, one.feature).astype(np.int64),
            threshold=np.asarray(one.threshold, dtype=np.float64) * unit,
            left=np.asarray(one.children_left, dtype=np.int64),
            right=np.asarray(one.children_right, dtype=np.int64),
            missing_left=np.zeros(one.node_count, dtype=np.bool_),
            label=np.arange(one.node_count),
        )
        for one, _ in held
    )
    scores = tuple(added for _, added in held)
    start = np.zeros(scores[0].shape[1]) if base is None else np.asarray(base, dtype=np.float64)
    return Forest(trees=trees, scores=scores, base=start)
