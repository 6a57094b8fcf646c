"""Evaluating, comparing and gating from Python."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crucibench.contracts.uri import split_name
from crucibench.engine.listener import Listener
from crucibench.engine.options import RunOptions
from crucibench.engine.resolve.resolve import LIVE, Overrides, Resolved, resolve
from crucibench.engine.run import execute
from crucibench.integrity.verify import verify as _verify
from crucibench.store.find import find_run, load
from crucibench.store.run import Run
from crucibench.util.errors import InputError
from crucibench.util.folders import cache_folder
from crucibench.util.untrusted.yaml_text import read_yaml

if TYPE_CHECKING:
    from crucibench.comparing.results import Comparison
    from crucibench.gating.looks import LookJudge
    from crucibench.gating.policy import Policy
    from crucibench.gating.result import GateVerdict

DataOptions = Mapping[str, Any]


def run(
    spec: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    *,
    models: Mapping[str, Any] | Sequence[str] | str | None = None,
    data: Any = None,
    data_options: DataOptions | None = None,
    recipe: str | None = None,
    repeat: int = 1,
    suites: Sequence[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
    out: str | os.PathLike[str] = "results",
    allow_pickle: bool = False,
    fresh: bool = False,
    keep_going: bool = False,
    workers: int | None = None,
    retries: int = 0,
    memory_limit: int | None = None,
    reuse_answers: str | os.PathLike[str] | None = None,
    cache: bool = True,
    listener: Listener | None = None,
) -> Run:
    """Evaluates models on data and returns the run.

    Args:
        spec: a spec file or its content; then `models` and `data` are left out.
        models: live objects (an ``nn.Module``, an estimator, a function, an `Adapter`) or URIs, by
            name; or URIs ``[NAME=]SCHEME:REST``.
        data: a URI, or live data: ``(X, y)``, a DataFrame, a `datasets.Dataset`, a torch data set.
        data_options: of the data: ``target``, ``groups``, ``features``, ``cluster``, ``id``,
            ``split``, ``task``, ``classes``; as in a spec.
        recipe: the name of the recipe, where the models are trainings that differ by seed alone.
        repeat: how often plain passes ask about each sample, where models are stochastic.
        suites: which to run; all that apply by default.
        settings: ``{"SUITE.KEY": value}``.
        defaults: keys of the spec's ``defaults``, e.g. ``{"preset": "quick", "seed": 0}``.
        out: the folder that holds the runs.
        allow_pickle: read pickled models, which can run any code.
        fresh: throw away what an earlier run of the same spec left.
        keep_going: a model that can't be inspected fails its own cells only.
        workers: processes that ask models, so that one that crashes fails its own cells alone; by
            default one, or one a CUDA device, and none (0) for live objects, which can't leave
            this process.
        retries: how often a cell is tried again after its model raised or died.
        memory_limit: bytes that a worker may use.
        reuse_answers: an earlier run (a path, an id prefix or ``latest``) whose answers of
            language models are used again where the same is asked of the same model.
        cache: whether what an earlier run asked the same model about the same data is used again.
        listener: hears what happens; by default a notebook shows a bar, and others nothing.

    Raises:
        InputError: one clear sentence, before anything is collected.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> from sklearn.linear_model import LogisticRegression
        >>> X, y = load_iris(return_X_y=True)
        >>> model = LogisticRegression(max_iter=500).fit(X[::2], y[::2])
        >>> import crucibench as cb, tempfile
        >>> run = cb.run(models={"logistic": model}, data=(X[1::2], y[1::2]),
        ...              suites=["accuracy"], out=tempfile.mkdtemp())
        >>> rows = run.metrics()
        >>> round(rows.loc[rows.metric == "top-1", "value"].item(), 2)
        0.96
    """
    resolved = prepare(
        spec, models=models, data=data, data_options=data_options, recipe=recipe,
        repeat=repeat, suites=suites, settings=settings, defaults=defaults,
        allow_pickle=allow_pickle,
    )  # fmt: skip
    options = RunOptions(
        out=Path(out), scratch=cache_folder(), keep_going=keep_going, fresh=fresh,
        where=where(spec), workers=workers, retries=retries, memory=memory_limit, cache=cache,
        reuse=None if reuse_answers is None else find_run(str(reuse_answers), Path(out)),
    )  # fmt: skip
    if listener is not None:
        return carry_out(resolved, options, listener)
    from crucibench.report.notebook import progress_shown

    with progress_shown() as bar:
        return carry_out(resolved, options, bar)


def prepare(
    spec: str | os.PathLike[str] | Mapping[str, Any] | None = None,
    *,
    models: Mapping[str, Any] | Sequence[str] | str | None = None,
    data: Any = None,
    data_options: DataOptions | None = None,
    recipe: str | None = None,
    repeat: int = 1,
    suites: Sequence[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    defaults: Mapping[str, Any] | None = None,
    allow_pickle: bool = False,
) -> Resolved:
    """Resolves what `run` is given; see there.

    Raises:
        InputError: all mistakes at once.
    """
    base = Path.cwd()
    live: dict[str, Any] = {}
    if spec is None:
        if models is None or data is None:
            raise InputError("expected a spec, or models and data")
        document: Any = _document(models, data, data_options or {}, live)
        each = {"group": recipe, "repeat": repeat}
        document["models"] = [{**entry, **each} for entry in document["models"]]
    else:
        if recipe is not None or repeat != 1:
            raise InputError(
                "recipe and repeat go with models: in a spec say replicate_of and seed, or repeat"
            )
        if models is not None or data is not None:
            raise InputError("expected a spec, or models and data, not both")
        if isinstance(spec, Mapping):
            document = dict(spec)
        else:
            document = read_yaml(Path(spec))
            base = Path(spec).resolve().parent
    overrides = Overrides(
        defaults=defaults or {}, suites=None if suites is None else tuple(suites),
        settings=settings or {}, allow_pickle=allow_pickle, live=live,
    )  # fmt: skip
    return resolve(document, base, where(spec), overrides)


def carry_out(
    resolved: Resolved, options: RunOptions, listener: Listener, policy: Policy | None = None
) -> Run:
    """Executes a run and writes its views; a finished run is returned as it is.

    With a gate's policy, the decision in the views keeps to it.
    """
    done = execute(resolved, options, listener, judge_of(resolved))
    if done is None:
        raise AssertionError("a dry run has no result; call execute")
    return with_views(done, policy)


def judge_of(resolved: Resolved) -> LookJudge | None:
    """Returns what decides when enough was asked; None where all is asked.

    Raises:
        InputError: if there is a mistake in the policy.
    """
    file = resolved.spec.defaults.until_decided
    if file is None:
        return None
    from crucibench.gating.looks import LookJudge
    from crucibench.gating.policy import read_policy

    return LookJudge(read_policy(resolved.base / file))


def with_views(run: Run, policy: Policy | None = None) -> Run:
    """Writes the report of a finished run, where it is not the newest there is, and returns it."""
    # `latest` is the run that was asked for last, also where its result was there already: a gate
    # after it must judge that one.
    run.layout.events.touch()
    report, manifest = run.layout.report, run.layout.manifest
    newest = report.is_file() and report.stat().st_mtime_ns >= manifest.stat().st_mtime_ns
    if policy is not None or not newest:
        from crucibench.report.html import write_views

        write_views(run, policy=policy)
    run.scorer = None
    return run


def verify(run: Run | str | os.PathLike[str]) -> list[str]:
    """Re-hashes a run, counts its samples and scores its records again.

    Returns:
        One sentence for each difference; none means sound.

    Raises:
        UnreadableError: if there is no finished run.
    """
    return _verify(_opened(run))


def compare(
    baseline: Run | str | os.PathLike[str],
    candidate: Run | str | os.PathLike[str],
    *,
    level: float = 0.95,
    intersect: bool = False,
    models: Mapping[str, str] | None = None,
) -> Comparison:
    """Compares two runs or packs sample by sample; needs neither models nor data.

    Args:
        baseline: a run, its folder, or a pack.
        candidate: another, or the same with `models`.
        level: of the intervals.
        intersect: compare the common samples where the two differ.
        models: candidate's name to baseline's; by default models of the same name.

    Returns:
        The differences, and what was refused because it is not comparable, with the reason.

    Raises:
        UnreadableError: if a run can't be read.
    """
    from crucibench.comparing.runs import compare_runs

    return compare_runs(
        _opened(baseline), _opened(candidate), level=level, intersect=intersect, models=models
    )


def gate(
    baseline: Run | str | os.PathLike[str],
    candidate: Run | str | os.PathLike[str],
    policy: Mapping[str, Any] | str | os.PathLike[str],
) -> GateVerdict:
    """Holds a candidate against a baseline under a policy: a file, or its content.

    An anchor and a history that the policy names are looked for from its file.

    Returns:
        The verdict: ``pass``, ``regression``, ``inconclusive`` or ``invalid``, rule by rule.

    Raises:
        InputError: all mistakes of the policy at once.
        UnreadableError: if a run can't be read.
    """
    from crucibench.gating.policy import parse_policy, read_policy
    from crucibench.gating.runs import gate_runs

    if isinstance(policy, Mapping):
        name, rules = "policy", parse_policy(dict(policy), "policy")
    else:
        name, rules = str(policy), read_policy(Path(policy))
    anchor = None if rules.anchor is None else load(Path(name).parent / rules.anchor)
    history = [load(Path(name).parent / run) for run in rules.history]
    return gate_runs(
        _opened(baseline), _opened(candidate), rules, anchor=anchor, history=history,
        policy_name=name,
    )  # fmt: skip


def _opened(run: Run | str | os.PathLike[str]) -> Run:
    return run if isinstance(run, Run) else load(run)


def where(spec: object) -> str:
    """Returns what messages call the spec."""
    return str(spec) if isinstance(spec, str | os.PathLike) else "spec"


def _document(
    models: Mapping[str, Any] | Sequence[str] | str,
    data: Any,
    options: DataOptions,
    live: dict[str, Any],
) -> dict[str, Any]:
    return {
        "models": _model_entries(models, live),
        "data": [_data_entry(data, options, live)],
    }


def _model_entries(
    models: Mapping[str, Any] | Sequence[str] | str, live: dict[str, Any]
) -> list[dict[str, Any]]:
    if isinstance(models, str):
        models = [models]
    if isinstance(models, Mapping):
        entries = []
        for name, model in models.items():
            if isinstance(model, str):
                entries.append({"name": name, "uri": model})
            else:
                live[f"models.{name}"] = model
                entries.append({"name": name, "uri": f"{LIVE}:{name}"})
        return entries
    return list(map(named_entry, models))


def _data_entry(data: Any, options: DataOptions, live: dict[str, Any]) -> dict[str, Any]:
    if isinstance(data, str):
        return {**named_entry(data), **options}
    live["data.data"] = data
    return {"name": "data", "uri": f"{LIVE}:data", **options}


def named_entry(text: str) -> dict[str, Any]:
    """Returns ``[NAME=]URI`` as an entry of a spec: name and address."""
    name, uri = split_name(text)
    return {"name": name or default_name(uri), "uri": uri}


def default_name(uri: str) -> str:
    """Returns a short name for an address: the factory, or the file without its suffix.

    Files that a pattern names go by their folder, those of the current folder by its own name.
    """
    from crucibench.data.files import is_pattern

    address = uri.partition("?")[0]
    rest = address.partition(":")[2] or address
    path = Path(rest.rpartition(":")[2] or rest)
    name = path.name
    if is_pattern(str(path)):
        fixed = itertools.takewhile(lambda part: not is_pattern(part), path.parts)
        name = Path(*fixed).resolve().name
    stem = name.partition(".")[0] if "." in name else name
    return stem or "model"
