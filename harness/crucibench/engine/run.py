"""One run, from a resolved spec to a directory: resolve, inspect, plan, collect, score."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from crucibench import registry
from crucibench.contracts.data import EvalSet
from crucibench.contracts.verdict import Status
from crucibench.engine.collect.blocks import BlockLifecycle, Blocks, Judge, check_blocks
from crucibench.engine.collect.lifecycle import CellLifecycle
from crucibench.engine.collect.schedule import Limits, Schedule
from crucibench.engine.executors.base import Executor
from crucibench.engine.inspect import Inspection, inspect, make_user_data, user_made_data
from crucibench.engine.listener import Listener
from crucibench.engine.options import RunOptions, choose_executor, oversubscribed
from crucibench.engine.parts import PartLifecycle, assign
from crucibench.engine.plan.cell_files import suites_as_data
from crucibench.engine.plan.plan import Plan, make_plan
from crucibench.engine.plan.requests import check_requests
from crucibench.engine.plan.roles import SelectedRole
from crucibench.engine.resolve.resolve import Resolved
from crucibench.engine.score.score import Scorer
from crucibench.engine.worker.environment import environment
from crucibench.engine.worker.opening import open_all_data
from crucibench.engine.worker.replaced import LibraryWatch
from crucibench.engine.worker.tasks import MadeData, Setup
from crucibench.installed_code import code_of
from crucibench.store.answers import same_models
from crucibench.store.cell_cache import CellCache, cache_limit
from crucibench.store.cells import CellFile, write_cell
from crucibench.store.events import Events
from crucibench.store.layout import Layout, slug
from crucibench.store.lock import exclusive
from crucibench.store.manifest import changed, is_damaged, remember, write_manifest
from crucibench.store.part_file import read_part
from crucibench.store.reads import other_reads, remember_reads
from crucibench.store.run import Run
from crucibench.store.tables import rows_to_table, samples_to_table, write_blocks, write_table
from crucibench.util import doors
from crucibench.util.atomic import remove_leftovers, write_json, write_text
from crucibench.util.devices import cuda_devices, resolve_device, set_threads, thread_count
from crucibench.util.errors import InputError, UnavailableError
from crucibench.util.libraries import package_version
from crucibench.util.memory import give_back
from crucibench.util.outside import Outside, keyed_digests
from crucibench.util.reads import Reads
from crucibench.util.untrusted.yaml_text import read_yaml
from crucibench.util.user_errors import one_line

_BLOCK = 65536


def execute(  # noqa: PLR0915 - one step after the other
    resolved: Resolved, options: RunOptions, listener: Listener, judge: Judge | None = None
) -> Run | None:
    """Carries out a run, or resumes it; a finished one without failed cells is returned as it is.

    Args:
        resolved: the spec.
        options: how it is carried out.
        listener: hears of it.
        judge: says when enough was asked, where the spec says `until_decided`.

    Returns:
        The run; None after a dry run.

    Raises:
        InputError: before anything is collected.
        KeyboardInterrupt: after Ctrl-C, SIGTERM or SIGHUP; what was collected is kept.
        StoppedError: after more failures than `options` allow; likewise.
    """
    begun = dict(os.environ)  # what code of the user's sets in this process is not given to it
    resolved = with_current_reads(resolved, options)
    layout = run_layout(resolved, options)
    _check_writable(options.out)
    if options.fresh and layout.root.is_dir() and not options.dry_run:
        with exclusive(layout.root):
            doors.remove_folder(layout.root)
    damaged = [] if options.dry_run else _damaged(layout)
    if damaged is None:
        return Run(layout.root)
    defaults = resolved.spec.defaults
    threads = thread_count(defaults.threads)
    with ExitStack() as stack:
        # Worker processes start, and import libraries, while this one reads the data.
        early = choose_executor(resolved, options, threads, _devices(defaults.device))
        if early is not None:
            stack.callback(early.close)
            if options.executor == "local" and (
                warning := oversubscribed(len(early.slots), threads)
            ):
                listener.note(warning)
        device = resolve_device(defaults.device)
        set_threads(threads)
        if layout.spec.name not in damaged:
            resolved = _with_batch_sizes(resolved, layout)
        setup = Setup(
            resolved=resolved, cards={}, scratch=options.scratch, root=layout.root.resolve(),
            device=device, threads=threads, makes=user_made_data(resolved),
            reuse=None if options.reuse is None else options.reuse.root.resolve(),
        )  # fmt: skip
        if early is not None:
            data, reads, names = _open_data(setup, options, early, listener)
            executor = early
        else:
            from crucibench.engine.executors.inline import InlineExecutor

            watch = LibraryWatch()  # before any code of the user's
            data, reads, names = _open_data_here(setup, options, listener)
            executor = InlineExecutor(data, watch)
            stack.callback(executor.close)
        cards = {name: entry.card for name, entry in data.items()}
        executor.prepare(replace(setup, cards=cards, memory=options.memory))
        inspection = inspect(
            resolved, data, executor, listener, options.where, keep_going=options.keep_going,
            retries=options.retries,
        )  # fmt: skip
        inspection.reads[""] = reads
        inspection.environment[""] = names
        resolved = replace(resolved, batch_sizes=_nested(inspection.batch_sizes))
        plan = make_plan(resolved, inspection.models, inspection.cards)
        listener.planned(plan, inspection)
        if options.dry_run:
            return None
        check_requests(resolved, plan, len(executor.slots))
        _check_reuse(options.reuse, inspection)
        if judge is not None:
            if options.part is not None:
                raise InputError("until_decided: a part of a run can't tell when to stop")
            check_blocks(plan)
            judge.check(plan)
        facts = environment(resolved.base, threads, device)
        facts["installed_suites"] = registry.suites().names()
        stack.enter_context(exclusive(layout.root))
        damaged = _damaged(layout)
        if damaged is None:  # another process has finished it meanwhile
            return Run(layout.root)
        if damaged:
            listener.note(f"{damaged[0]} is not as it was written: what it held is made again")
        _remove_damaged(layout, damaged)
        _remove_unplanned(layout, plan, inspection)
        variables = {
            model: keyed_digests(names, begun, options.scratch)
            for model, names in inspection.environment.items()
        }
        ready = _Ready(resolved, layout, plan, inspection, facts, executor, variables)
        done = Run(layout.root)
        done.scorer = _collect(ready, options, listener, judge)
        give_back(options.scratch.resolve())
    return done


@dataclass(frozen=True)
class _Ready:
    """A run that can begin."""

    resolved: Resolved
    layout: Layout
    plan: Plan
    inspection: Inspection
    environment: Mapping[str, Any]
    executor: Executor
    variables: Mapping[str, Mapping[str, str]]


def _collect(ready: _Ready, options: RunOptions, listener: Listener, judge: Judge | None) -> Scorer:
    layout, plan, executor = ready.layout, ready.plan, ready.executor
    events = Events(layout.events)
    resumed = layout.events.is_file()
    events.add(
        "started", cells=len(plan.cells), executor=executor.name, workers=len(executor.slots),
        resumed=resumed,
    )  # fmt: skip
    limits = Limits(
        timeout=ready.resolved.spec.defaults.timeout, retries=options.retries,
        failures=_allowed(options.failures, len(plan.cells)),
    )  # fmt: skip
    if judge is not None:
        with _noted(events):
            ready = _asked_in_blocks(ready, limits, events, listener, judge)
        plan = ready.plan
    # Records of a run that stopped early are no one else's.
    caching = options.cache and executor.caching and judge is None
    cache = CellCache(options.scratch / "cells", cache_limit()) if caching else None
    make: Callable[..., CellLifecycle] = CellLifecycle
    mine = plan
    if options.part is not None:
        mine, split = assign(plan, options.part)
        limits = replace(limits, failures=_allowed(options.failures, len(mine.cells)))
        make = partial(PartLifecycle, part=options.part, split=split)
    lifecycle = make(
        plan, ready.resolved, layout, ready.inspection, environment=ready.environment,
        events=events, cache=cache, listener=listener,
        observed=ready.inspection.observed(ready.variables),
        score=executor.aside if len(executor.slots) > 1 and options.part is None else None,
    )  # fmt: skip
    _write_inputs(ready, lifecycle.role)
    give_back(options.scratch.resolve())
    schedule = Schedule(mine, executor, lifecycle, limits=limits, events=events, listener=listener)
    with _noted(events):
        schedule.run()
    if isinstance(lifecycle, PartLifecycle):
        lifecycle.write_account(ready.resolved.run_id, plan)
    else:
        _write_failed_inspections(layout, ready.inspection, listener)
        in_order = [row for cell in plan for row in lifecycle.rows[cell.id]]
        write_table(layout.metrics, rows_to_table(in_order))
    write_manifest(layout, package_version("crucibench"))
    remember(layout)
    code = code_of(ready.resolved.suites)
    remember_reads(
        layout, ready.resolved.base, ready.inspection.reads, code, variables=ready.variables,
        scratch=options.scratch,
    )  # fmt: skip
    events.add("finished")
    return lifecycle.scorer


@contextmanager
def _noted(events: Events) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        events.add("interrupted")
        raise
    except Exception as error:
        events.add("stopped", reason=one_line(error))
        raise


def _asked_in_blocks(
    ready: _Ready, limits: Limits, events: Events, listener: Listener, judge: Judge
) -> _Ready:
    """Asks until the judge has enough; returns the run of what was asked, its shards on disk."""
    resolved, inspection = ready.resolved, ready.inspection
    lifecycle = BlockLifecycle(
        ready.plan, resolved, ready.layout, inspection, environment=ready.environment,
        events=events, cache=None, listener=Listener(),
        observed=inspection.observed(ready.variables),
    )  # fmt: skip
    _write_inputs(ready, lifecycle.role)
    blocks = Blocks(
        ready.plan, lifecycle, inspection, judge, options=resolved.spec.defaults.scoring,
        listener=listener,
    )  # fmt: skip
    Schedule(
        blocks.plan, ready.executor, lifecycle, limits=limits, events=events, listener=Listener(),
        go_on=blocks.go_on,
    ).run()  # fmt: skip
    inspection = replace(inspection, data={**inspection.data, blocks.data: blocks.asked()})
    judge.write(ready.layout.root)
    plan = make_plan(resolved, inspection.models, inspection.cards)
    return replace(ready, plan=plan, inspection=inspection)


def with_current_reads(resolved: Resolved, options: RunOptions) -> Resolved:
    """Returns a spec under the id of the run that its files belong to.

    A finished run whose models or data read files that have changed since, and that the spec does
    not name, is left as it is: the same command makes another run beside it.
    """
    layout = run_layout(resolved, options)
    while not options.fresh and layout.manifest.is_file():
        other = other_reads(layout, resolved.base, options.scratch)
        if not other:
            break
        resolved = replace(resolved, run_id=f"{resolved.run_id}-{other[:6]}")
        layout = run_layout(resolved, options)
    return resolved


def run_layout(resolved: Resolved, options: RunOptions) -> Layout:
    """Returns where the run, or the part of it, lies."""
    suffix = options.part.suffix if options.part is not None else ""
    return Layout(options.out / f"{resolved.run_id}{suffix}")


def _open_data(
    setup: Setup, options: RunOptions, executor: Executor, listener: Listener
) -> tuple[dict[str, EvalSet], dict[str, str], set[str]]:
    """Returns the open data sets, and what the user's code read for them: files and variables."""
    made = make_user_data(executor, setup, listener, options.retries) if setup.makes else {}
    data = open_all_data(setup.resolved, options.scratch, listener, options.where, made)
    read: dict[str, str] = {}
    names: set[str] = set()
    for entry in made.values():
        if isinstance(entry, MadeData):
            read |= entry.reads
            names |= entry.environment
    return data, read, names


def _open_data_here(
    setup: Setup, options: RunOptions, listener: Listener
) -> tuple[dict[str, EvalSet], dict[str, str], set[str]]:
    """Does the same as `_open_data` where the user's code runs in this process."""
    reads = Reads(setup.resolved.base, options.scratch)
    outside = Outside()
    with ExitStack() as stack:
        if setup.makes:
            stack.enter_context(reads)
            stack.enter_context(outside)
        data = open_all_data(setup.resolved, options.scratch, listener, options.where)
    return data, reads.digests(), outside.environment


def _check_reuse(earlier: Run | None, inspection: Inspection) -> None:
    if earlier is None:
        return
    if earlier.packed:
        raise InputError("--reuse-answers: a pack holds no answers: give the run it was made of")
    if not any(same_models(earlier, info) for info in inspection.models.values()):
        raise InputError(
            f"--reuse-answers: run {earlier.id} asked none of these models: one with the same "
            "fingerprint, or at the same address"
        )


def _devices(device: str) -> int:
    """Returns over how many CUDA devices workers may be spread."""
    return cuda_devices() if device in {"auto", "cuda"} and Path("/dev/nvidiactl").exists() else 0


def _with_batch_sizes(resolved: Resolved, layout: Layout) -> Resolved:
    # A resumed run keeps the batches that it began with, however much memory is free now: other
    # batches are other floats.
    try:
        known = read_yaml(layout.spec)["resolved"]["batch_sizes"]
    except (InputError, OSError, KeyError, TypeError):
        return resolved
    return replace(resolved, batch_sizes=known) if known and isinstance(known, dict) else resolved


def _nested(sizes: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for (model, data), size in sorted(sizes.items()):
        found.setdefault(model, {})[data] = size
    return found


def _allowed(failures: float | None, cells: int) -> int | None:
    if failures is None:
        return None
    return int(failures * cells) if 0 < failures < 1 else int(failures)


def _damaged(layout: Layout) -> list[str] | None:
    """Returns what of a finished run is not as it was written; None where nothing is to be done."""
    if not layout.manifest.is_file():
        return []
    if is_damaged(layout):
        return [layout.manifest.name]
    damaged = changed(layout)
    return None if not damaged and _nothing_failed(layout) else damaged


def _nothing_failed(layout: Layout) -> bool:
    # The same command tries a failed cell again: its cause may have been fixed.
    if layout.part.is_file():
        files = [cell.file for cell in read_part(layout).cells.values()]
    else:
        files = list(Run(layout.root).cells.values())
    return all(file.status is not Status.FAILED for file in files)


def _remove_damaged(layout: Layout, damaged: list[str]) -> None:
    """Removes what can't be trusted, and what a killed process left half written."""
    doors.unlink(layout.manifest, missing_ok=True)
    for name in damaged:
        if not name.startswith("cells/"):  # a cell's journal knows what of it is whole
            doors.unlink(layout.root / name, missing_ok=True)
    remove_leftovers(layout.root)


def _remove_unplanned(layout: Layout, plan: Plan, inspection: Inspection) -> None:
    """Removes cells that are no longer planned.

    Those of a model that can't be inspected now are kept for when it can be.
    """
    planned = {cell.id for cell in plan}
    lost = {model for model, _ in inspection.errors}
    for path in layout.cells.glob("*/cell.json"):
        if path.parent.name in planned:
            continue
        if path.parent.name.partition(".")[0] in {slug(model)[:40] for model in lost}:
            doors.unlink(path)
        else:
            doors.remove_folder(path.parent)


def _check_writable(out: Path) -> None:
    # Reads permissions instead of writing a test file: a refused command leaves nothing behind.
    nearest = out.resolve()
    while not nearest.exists():
        nearest = nearest.parent
    if not nearest.is_dir():
        raise InputError(f"--out {str(out)!r}: can't write there: {str(nearest)!r} is a file")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise InputError(f"--out {str(out)!r}: can't write there: permission denied")


def _write_inputs(ready: _Ready, role: Callable[[str, str, int | None], SelectedRole]) -> None:
    """Writes spec, environment, models, suites, cards and sample tables.

    All anew, whatever an earlier attempt left: nothing vouches for that before there is a manifest.
    """
    resolved, layout, plan, inspection = ready.resolved, ready.layout, ready.plan, ready.inspection
    doors.make_folder(layout.cells)
    write_text(layout.spec, resolved.document(layout.root))
    write_json(layout.environment / "main.json", dict(ready.environment))
    models = [
        {"data": data, "model": info.as_dict()}
        for (_, data), info in sorted(inspection.models.items())
    ]
    write_json(layout.models, models)
    write_json(layout.suites, suites_as_data(resolved, plan))
    written = {layout.card(name) for name in inspection.cards}
    for name, card in inspection.cards.items():
        write_json(layout.card(name), card.as_dict())
    for data, name in sorted({(cell.data.name, cell.scenario.role) for cell in plan}):
        if name in inspection.cards[data].counts:
            path = layout.sample_table(data, name)
            write_blocks(path, _blocks(role(data, name, resolved.spec.defaults.limit)))
            written.add(path)
    for path in sorted(layout.samples.rglob("*")):
        if path.is_file() and path not in written:
            doors.unlink(path)


def _write_failed_inspections(layout: Layout, inspection: Inspection, listener: Listener) -> None:
    """Writes a failed cell for each model that could not be inspected; a skipped one for a form of
    a model that can't be had on this machine.
    """
    for (model, data), error in inspection.errors.items():
        cell = f"{slug(model)[:40]}.{slug(data)[:40]}.inspection"
        file = CellFile(
            cell=cell, kind="mapped", model=model, data=data, suite="pass",
            scenario="inspection", version=1, role="test", points=[""],
            status=Status.SKIPPED if isinstance(error, UnavailableError) else Status.FAILED,
            reason=str(error), detail=error.detail or "",
        )  # fmt: skip
        write_cell(layout.cell_file(cell), file)
        listener.finished(file)


def _blocks(role: SelectedRole) -> Iterator[pa.Table]:
    for start in range(0, max(1, len(role)), _BLOCK):
        yield samples_to_table(role.slice(range(start, min(start + _BLOCK, len(role)))))
