"""How many requests a plan sends to served models."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat

from crucibench.contracts.evidence import ModelInfo
from crucibench.contracts.scenario import Mapped
from crucibench.engine.plan.plan import Plan, PlannedCell
from crucibench.engine.resolve.resolve import Resolved
from crucibench.passes.probes import MOST_OF_REMOTE, probe_samples
from crucibench.passes.repeats import REPEATS, SAMPLES
from crucibench.passes.scenario import SUITE as PASS
from crucibench.spec.models import RemoteSettings
from crucibench.util.errors import InputError

_INSPECTED = 32


@dataclass(frozen=True, kw_only=True)
class Requests:
    """What one served model is asked.

    Attributes:
        model: its name.
        requests: about how many inferences, all data sets together; of attacks, the most there can
            be. Retries are not among them, nor what timed scenarios ask.
        batch: samples to a request, at most.
        allowed: ``max_requests`` of the spec.
    """

    model: str
    requests: int
    batch: int
    allowed: int | None


def planned_requests(resolved: Resolved, plan: Plan) -> list[Requests]:
    """Returns what each served model of the plan is asked, in the plan's order."""
    models = {cell.model.name: cell.model for cell in plan if cell.model.remote}
    found = []
    for name, model in models.items():
        cells = [cell for cell in plan if cell.model.name == name]
        batch = _request_batch(model)
        data = {cell.data.name: cell.data.counts.get("test", 0) for cell in cells}
        # A model with a fingerprint is asked the fixed probe, too.
        sizes = [_INSPECTED] if model.fingerprint is None else [_INSPECTED, SAMPLES, SAMPLES]
        inspected = (min(size, count) for count in data.values() for size in sizes)
        total = _requests(inspected, batch)
        total += sum(
            _requests(_questions(cell), batch) + _asked_at_most(cell)
            for cell in cells
            if not cell.skip
        )
        allowed = _settings(resolved, name).max_requests
        found.append(Requests(model=name, requests=total, batch=batch, allowed=allowed))
    return found


def check_requests(resolved: Resolved, plan: Plan, workers: int) -> None:
    """Refuses a plan that would break a limit of a served model.

    Args:
        resolved: the spec.
        plan: of the run.
        workers: processes that ask models.

    Raises:
        InputError: if a model would be asked more often than it may be.
    """
    for entry in planned_requests(resolved, plan):
        if entry.allowed is not None and entry.requests > entry.allowed:
            raise InputError(
                f"model {entry.model!r}: the plan needs about {entry.requests:,} requests, "
                f"remote.max_requests allows {entry.allowed:,}: nothing was collected; allow more, "
                "or ask about fewer samples (--limit)"
            )
        settings = _settings(resolved, entry.model)
        for limit in (
            "max_requests", "max_bytes", "max_tokens", "max_cost", "requests_per_second"
        ):  # fmt: skip
            if workers > 1 and getattr(settings, limit) is not None:
                raise InputError(
                    f"model {entry.model!r}: remote.{limit}: each worker keeps it for itself, and "
                    f"{workers} would ask {workers} times as often: expected --workers 1 or 0"
                )


def _questions(cell: PlannedCell) -> Iterator[int]:
    """Yields the samples of each call of a cell's model."""
    scenario = cell.scenario
    if not isinstance(scenario, Mapped):
        return
    size = cell.batch_size
    known = cell.model.fingerprint is not None
    same = [] if known else list(_pieces(min(SAMPLES, cell.samples), size))
    yield from same * REPEATS
    yield from _probes(cell, scenario)
    shards = -(-cell.samples // cell.shard_size)
    yield from same * (shards * len(scenario.stages))
    if scenario.most_questions is not None:
        return
    # A point without a name beside others is that of a mean over them: it asks nothing.
    named = [point for point in scenario.points if point]
    times = max(1, len(named)) * len(scenario.stages)
    if scenario.suite == PASS:
        times *= cell.model.repeat
    for samples in _pieces(cell.samples, size):
        yield from [samples] * times


def _asked_at_most(cell: PlannedCell) -> int:
    """Returns the requests of a cell that asks again and again, if none held two questions."""
    scenario = cell.scenario
    if not isinstance(scenario, Mapped) or scenario.most_questions is None:
        return 0
    return cell.samples * scenario.most_questions + (scenario.most_probed or 0)


def _probes(cell: PlannedCell, scenario: Mapped) -> Iterator[int]:
    size = cell.batch_size
    whole = list(_pieces(min(probe_samples(cell.model.geometry), cell.samples), size))
    if scenario.suite != PASS:
        if type(scenario).probe is not Mapped.probe and scenario.most_probed is None:
            yield from whole * len(scenario.points)
        return
    # The pass asks again: twice the same, in batches of 1 and 7, and with changes undone.
    repeated = min(64, cell.samples)
    yield from list(_pieces(repeated, size)) * 2
    yield from [1] * min(16, repeated)
    yield from _pieces(repeated, min(7, size))
    if cell.data.task.one_class or cell.data.task.one_number:
        yield from whole * (1 + MOST_OF_REMOTE)


def _pieces(samples: int, size: int) -> Iterator[int]:
    """Yields the sizes of the batches of so many samples."""
    full, rest = divmod(samples, size)
    yield from repeat(size, full)
    if rest:
        yield rest


def _requests(questions: Iterable[int], batch: int) -> int:
    return sum(-(-samples // batch) for samples in questions)


def _request_batch(model: ModelInfo) -> int:
    batch = model.diagnostics.get("request_batch")
    return batch if isinstance(batch, int) and batch > 0 else 1


def _settings(resolved: Resolved, model: str) -> RemoteSettings:
    return resolved.models[model].spec.remote or RemoteSettings()
