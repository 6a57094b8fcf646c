"""``python:``: a function from a batch's inputs to scores, from a file, a module, or live.

The function gets what the harness holds: images as a float32 tensor (N, C, H, W) in [0, 1], text as
``list[str]``, a table as a DataFrame. A function whose first parameter is annotated `Batch` gets
the batch itself, with ids, rows and keys. Nobody can tell whether a function is the same as before,
so that its answers are never cached across runs.
"""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crucibench.contracts.adapter import Adapter, Answer, Opening, Request, Sources
from crucibench.contracts.batch import Batch
from crucibench.contracts.task import OutputError
from crucibench.contracts.uri import URI
from crucibench.util.errors import InputError
from crucibench.util.loading import call_factory, load_factory, parse_factory
from crucibench.util.suggest import unknown
from crucibench_adapters._classes import ClassMap, LabelMap
from crucibench_adapters._outputs import (
    KINDS,
    capabilities_of,
    list_answer,
    list_capabilities,
    list_fields,
    two_columns,
)
from crucibench_adapters._preprocessing import stored_form, takes_own_sizes


class FunctionAdapter(Adapter):
    """A function of the user's.

    Option ``output``: ``probabilities`` (N, K), the default; ``logits`` (N, K); ``labels`` (N,),
    class names or indices; ``values`` (N,), the default for regression. For a binary task one
    column, (N,) or (N, 1), speaks for the second class. A class is called without arguments, and
    what it makes is the function. Option ``sizes=own``: images come as a list of tensors (C, H, W)
    in their own sizes. Where an answer holds lists, the function returns one dict a sample, from
    the field's name to an array (m,) or (m, k).
    """

    @classmethod
    def sources(cls, uri: URI, base: Path) -> Sources:
        uri.only("output", "sizes")
        takes_own_sizes(uri.query.get("sizes", "one"), "sizes of python:")
        if uri.query.get("output", KINDS[0]) not in KINDS:
            raise InputError(unknown("output of python:", uri.query["output"], KINDS))
        ref = parse_factory(uri.rest, base)
        return Sources(ref.files, ref.facts)

    @classmethod
    def accepts(cls, model: object) -> bool:
        torch = sys.modules.get("torch")
        if isinstance(model, type) or (torch and isinstance(model, torch.nn.Module)):
            return False
        return callable(model) and not (hasattr(model, "fit") and hasattr(model, "predict"))

    @classmethod
    def open(cls, opening: Opening) -> Adapter:
        if opening.live is not None:
            function, what = opening.live, "the live function"
        else:
            cls.sources(opening.uri, opening.base)
            ref = parse_factory(opening.uri.rest, opening.base)
            function, what = load_factory(ref), str(ref)
        if isinstance(function, type):
            function = call_factory(function, what)
        if not callable(function):
            raise InputError(f"{what}: expected a function, got {type(function).__name__}")
        return cls(function, what, opening)

    def __init__(self, function: Callable[[Any], Any], what: str, opening: Opening) -> None:
        self.task = opening.data.task
        own = opening.uri.query.get("sizes") == "own"
        self.input_spec = replace(stored_form(opening.data), own_sizes=own)
        regression = self.task.one_number
        kind = opening.uri.query.get("output", "values" if regression else "probabilities")
        if (kind == "values") != regression:
            raise InputError(f"{what}: output={kind} for data that asks for {self.task.kind}")
        self.score_kind = "logits" if kind == "logits" else "probabilities"
        self.capabilities = capabilities_of(kind)
        if list_fields(self.task):
            self.capabilities, kind = list_capabilities(self.task), "lists"
        self._kind = kind
        self._what = what
        self._function = function
        self._whole = _wants_batch(function)
        self._declared = opening.classes
        self._classes: ClassMap | None = None
        if kind == "labels":
            self._labels = LabelMap(self.task, what, declared=opening.classes)
        elif isinstance(opening.classes, tuple) and not regression:
            self._classes = ClassMap.match(None, self.task, what, declared=opening.classes)

    def _predict(self, batch: Batch, want: Request) -> Answer:
        found = self._function(batch if self._whole else batch.inputs)
        if self._kind == "lists":
            return list_answer(found, self.task, None, len(batch))
        answer = _array(found)
        if self._kind == "values":
            return Answer(values=_flat(answer, len(batch)).astype(np.float64))
        if self._kind == "labels":
            return Answer(labels=self._labels.indices(_flat(answer, len(batch))))
        scores = self._scores(answer)
        labels = scores.argmax(axis=1) if "labels" in want and scores.ndim == 2 else None
        return Answer(scores=scores, labels=labels)

    def unidentified(self) -> str:
        return "it is a function, of which nobody can tell what else it reads"

    def diagnostics(self) -> Mapping[str, Any]:
        return {
            "notes": ["a function has no fingerprint: its answers are not cached across runs"],
            "preprocessing": {"encoding": "none: the function gets the samples as they are held"},
            **({} if self._classes is None else self._classes.diagnostics()),
        }

    def numerics(self) -> Mapping[str, str]:
        return {"numpy": np.__version__}

    def _scores(self, answer: NDArray[Any]) -> NDArray[np.floating[Any]]:
        if not np.issubdtype(answer.dtype, np.floating):
            if answer.dtype.kind not in "biu":
                raise OutputError(
                    f"{self._what}: expected {self._kind} as numbers, got {answer.dtype}; "
                    "for labels say output=labels"
                )
            answer = answer.astype(np.float64)
        answer = two_columns(answer, self.score_kind, self.task)
        if self._classes is None and self._declared is not None and answer.ndim == 2:
            # How many classes a function knows shows in its first answer.
            self._classes = ClassMap.match(
                None, self.task, self._what, declared=self._declared, width=answer.shape[1]
            )
        if self._classes is None:
            return answer
        return self._classes.apply_scores(answer, self.score_kind)


def _wants_batch(function: Callable[[Any], Any]) -> bool:
    try:
        first = next(iter(inspect.signature(function).parameters.values()), None)
        if first is None:
            return False
        target = function if inspect.isroutine(function) else type(function).__call__
        annotation = typing.get_type_hints(target).get(first.name)
    except (TypeError, ValueError, NameError, AttributeError):
        return False
    return annotation is Batch


def _array(answer: Any) -> NDArray[Any]:
    if hasattr(answer, "detach"):
        answer = answer.detach().cpu()
        answer = answer.float() if str(answer.dtype) == "torch.bfloat16" else answer
        return np.asarray(answer.numpy())
    return np.asarray(answer)


def _flat(answer: NDArray[Any], rows: int) -> NDArray[Any]:
    return answer.ravel() if answer.shape == (rows, 1) else answer
