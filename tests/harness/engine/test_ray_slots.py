"""What the Ray executor makes of actors that come late, go, or can't take part; without Ray."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from crucibench.cli._app import application
from crucibench.engine.executors import ray_cluster
from crucibench.engine.executors.base import SlotMessage
from crucibench.engine.executors.ray_cluster import (
    Ended,
    RayExecutor,
    Ready,
    Refused,
    checked_gpus,
    room,
)
from crucibench.engine.options import RunOptions, choose_executor
from crucibench.engine.worker.tasks import Done, Gone, InspectTask, LeaseTask, Setup, Waiting
from crucibench.util.errors import InputError, StoppedError

TASK = InspectTask(model="m", data="d")
TIMED = LeaseTask(hold=True)
LOST = Gone("the node is gone", lost=True)


class Actors:
    """Stands for Ray: remembers the hands that were made, and which are gone."""

    def __init__(self, *nodes: dict[str, float]) -> None:
        self.ray = self
        self.made: list[ActorHandle] = []
        self.closed = False
        self._nodes = [{"NodeID": f"n{i}", "Resources": node} for i, node in enumerate(nodes)]

    def nodes(self) -> list[dict[str, Any]]:
        return self._nodes

    def remote(self, **options: Any) -> Callable[[type], Any]:
        return lambda kind: SimpleNamespace(remote=lambda *given: options)

    def close(self) -> None:
        self.closed = True


class ActorHandle:
    """Stands for an actor and its thread: tests say what becomes of it."""

    def __init__(self, ray: Actors, actor: Any, slot: str, tell: Any, *, whole: bool) -> None:
        self.slot, self.whole, self.options = slot, whole, actor
        self.ready = self.busy = self.killed = self.exchanged = self.joined = False
        self.node = ""
        self.tasks: list[Any] = []
        self._tell = tell
        ray.made.append(self)

    def tell(self, *news: Any) -> None:
        for one in news:
            if isinstance(one, Ready):
                self.node = "n0"
            self._tell(self, one)

    def begin(self, entry: Any) -> None:
        pass

    def submit(self, task: Any) -> None:
        assert self.ready and not self.busy and not self.killed
        self.busy = True
        self.tasks.append(task)

    def printed(self) -> bytes:
        return b"said"

    def trace(self) -> str:
        return "here"

    def kill(self) -> None:
        self.killed = True

    def exchange(self) -> None:
        self.exchanged = True

    def join(self, seconds: float) -> None:
        self.joined = True

    def gone(self, error: Gone, alive: Any) -> Gone:
        return error


class Stage:
    """An executor whose actors are the test's."""

    def __init__(self, actors: Actors, executor: RayExecutor) -> None:
        self.actors = actors
        self.executor = executor

    def hand(self, slot: str) -> ActorHandle:
        (found,) = [hand for hand in self.actors.made if hand.slot == slot and not hand.killed]
        return found

    def poll(self) -> list[SlotMessage]:
        return list(self.executor.poll(0.0))

    def end(self, slot: str, gone: Gone = LOST) -> list[SlotMessage]:
        self.hand(slot).tell(Ended(gone))  # type: ignore[arg-type]
        return self.poll()


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Stage]:
    """Returns a function that makes an executor of two actors, on nodes of so many resources."""

    def make(*nodes: dict[str, float], workers: int | None = None, **options: Any) -> Stage:
        actors = Actors(*(nodes or ({"CPU": 1.0}, {"CPU": 1.0})))
        monkeypatch.setattr(ray_cluster, "RayConnection", lambda address, cpus: actors)
        monkeypatch.setattr(ray_cluster, "ActorHandle", ActorHandle)
        monkeypatch.setattr(ray_cluster, "worker_facts", lambda device: {})
        return Stage(actors, RayExecutor(workers, 1, None, **options))

    return make


@pytest.fixture
def ready(stage: Callable[..., Stage]) -> Callable[..., Stage]:
    """Returns a function that makes one whose actors are ready."""

    def make(*nodes: dict[str, float], **options: Any) -> Stage:
        made = stage(*nodes, **options)
        for hand in made.actors.made:
            hand.tell(Ready())
        made.executor.prepare(_setup())
        return made

    return make


def _setup() -> Setup:
    return Setup(
        resolved=None, cards={}, scratch=Path("s"), root=Path("out/run"), device="cpu", threads=1  # type: ignore[arg-type]
    )  # fmt: skip


# -- places -------------------------------------------------------------------------------------


def test_there_are_as_many_workers_as_fit() -> None:
    nodes = [{"Resources": part} for part in ({"CPU": 5.0}, {"CPU": 3.0, "GPU": 1.0}, {})]
    assert room(nodes, 1, 0.0) == 8
    assert room(nodes, 2, 0.0) == 3, "a worker is on one node"
    assert room(nodes, 1, 1.0) == 1
    assert room(nodes, 1, 0.5) == 2
    assert room(nodes, 4, 0.5) == 0
    assert room([{"Resources": {"CPU": 100.0, "GPU": 3.0}}], 1, 0.1) == 30, "floats round"


def test_too_many_are_refused_with_the_reason(stage: Callable[..., Stage]) -> None:
    gpu = {"CPU": 4.0, "GPU": 1.0}
    for given, options, message in (
        ({}, {"workers": 3}, r"workers: .* has room for 2 of 1 CPUs each, got 3"),
        ({"CPU": 0.5}, {}, "threads: expected at most 0.5, .* got 1"),
        ({}, {"cuda": True}, "device: no node of the Ray cluster has a GPU"),
        (gpu, {"cuda": True, "workers": 2}, "room for 1 of 1 CPUs and 1 GPUs each, got 2"),
    ):
        with pytest.raises(InputError, match=message):
            stage(*([given] if given else []), **options)
    assert len(stage({"CPU": 4.0}).executor.slots) == 4
    assert len(stage(gpu, cuda=True, gpus=0.5).executor.slots) == 2
    assert len(stage(gpu, cuda=True).executor.slots) == 1
    assert len(stage(gpu).executor.slots) == 4, "models on processors take no GPU"


@pytest.mark.parametrize("gpus", [0.0, -1.0, 1.5, float("nan")])
def test_shares_of_gpus_are_checked(gpus: float) -> None:
    with pytest.raises(InputError, match="ray_gpus: expected a share of 1, or a whole number"):
        checked_gpus(gpus)
    assert [checked_gpus(good) for good in (None, 0.25, 1.0, 2.0)] == [1.0, 0.25, 1.0, 2.0]


def test_a_node_that_can_t_take_part_ends_the_run_before_it_begins(
    stage: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = stage()
    made.hand("ray-2").tell(Refused("node b: torch is 1 there and 2 here"))
    with pytest.raises(InputError, match=r"^node b: torch is 1 there and 2 here$"):
        made.executor.prepare(_setup())
    made = stage()
    made.hand("ray-1").tell(Ended(LOST))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="the node is gone"):
        made.executor.prepare(_setup())
    monkeypatch.setattr(ray_cluster, "_PLACE_SECONDS", -1.0)
    made = stage()
    made.hand("ray-1").tell(Ready())
    with pytest.raises(InputError, match="workers=2: the Ray cluster found a place for 1 in"):
        made.executor.prepare(_setup())


# -- losses -------------------------------------------------------------------------------------


def test_a_lost_slot_comes_back_when_its_new_actor_is_ready(ready: Callable[..., Stage]) -> None:
    now = ready()
    for slot in now.executor.slots:
        now.executor.submit(slot, TASK)
    (heard,) = now.end("ray-2")
    assert heard == SlotMessage("ray-2", LOST)
    assert now.executor.slots == ("ray-1",)
    assert now.executor.output("ray-2") == b"saidsaid"
    now.hand("ray-2").tell(Ready())
    assert now.poll() == [] and now.executor.slots == ("ray-1", "ray-2")
    now.executor.submit("ray-2", TASK)
    assert now.hand("ray-2").tasks == [TASK]


def test_an_idle_actor_that_dies_tells_nobody(ready: Callable[..., Stage]) -> None:
    now = ready()
    assert now.end("ray-1", Gone("killed")) == []
    assert now.executor.slots == ("ray-1", "ray-2"), "its node is there: a new one starts at once"


def test_a_crash_of_an_actor_is_its_task_s(ready: Callable[..., Stage]) -> None:
    now = ready()
    now.executor.submit("ray-1", TASK)
    assert now.end("ray-1", Gone("killed")) == [SlotMessage("ray-1", Gone("killed"))]
    now.executor.submit("ray-1", TASK)
    assert now.hand("ray-1").tasks == [], "not yet"
    now.hand("ray-1").tell(Ready())
    now.poll()
    assert now.hand("ray-1").tasks == [TASK]


def test_the_last_slot_keeps_its_task_and_whoever_is_first_does_it(
    ready: Callable[..., Stage],
) -> None:
    now = ready()
    assert now.end("ray-1") == [] == now.end("ray-2")
    assert now.executor.slots == ("ray-1",)
    now.executor.submit("ray-1", TASK)
    first, second = now.hand("ray-1"), now.hand("ray-2")
    second.tell(Ready())
    now.poll()
    assert second.tasks == [TASK] and second.slot == "ray-1"
    assert now.executor.slots == ("ray-1",)
    second.tell(Done(cost=None))  # type: ignore[arg-type]
    assert [heard.slot for heard in now.poll()] == ["ray-1"]
    first.tell(Ready())
    now.poll()
    assert first.slot == "ray-2" and now.executor.slots == ("ray-1", "ray-2")


def test_a_task_without_a_place_is_given_back_where_others_work(
    ready: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = ready()
    now.executor.submit("ray-2", TASK)
    now.executor.stop("ray-2")
    now.executor.submit("ray-2", TASK)
    assert now.poll() == []
    monkeypatch.setattr(ray_cluster, "_SPARE_SECONDS", -1.0)
    (heard,) = now.poll()
    assert heard.slot == "ray-2" and isinstance(heard.message, Gone) and heard.message.lost
    assert now.executor.slots == ("ray-1",)
    now.hand("ray-2").tell(Ready())
    assert now.poll() == [] and now.executor.slots == ("ray-1", "ray-2")


def test_a_run_is_stopped_where_nobody_has_room(
    ready: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = ready()
    assert now.end("ray-1") == [] == now.end("ray-2")
    now.executor.submit("ray-1", TASK)
    monkeypatch.setattr(ray_cluster, "_NOTE_SECONDS", -1.0)
    (told,) = now.poll()
    assert told == SlotMessage("ray-1", Waiting("waiting for a place on the Ray cluster"))
    monkeypatch.setattr(ray_cluster, "_PLACE_SECONDS", -1.0)
    now.hand("ray-1").node = "n0"
    assert now.poll() == [told], "it has a place, and takes its time to begin"
    now.hand("ray-1").node = ""
    with pytest.raises(StoppedError, match="no room for a worker of 1 CPUs; the same command"):
        now.poll()


def test_a_node_that_joins_later_may_be_left_out(ready: Callable[..., Stage]) -> None:
    now = ready()
    now.executor.submit("ray-1", TASK)
    now.end("ray-2")
    now.hand("ray-2").tell(Refused("node c: numpy is 1 there and 2 here"))
    assert now.poll() == [
        SlotMessage("ray-1", Waiting("node c: numpy is 1 there and 2 here: it is left out"))
    ]
    assert now.executor.slots == ("ray-1",)
    now.end("ray-1")
    now.hand("ray-1").tell(Refused("node d sees another folder"))
    with pytest.raises(StoppedError, match="node d sees another folder; the same command goes on"):
        now.poll()


def test_actors_that_never_start_end_the_run(ready: Callable[..., Stage]) -> None:
    now = ready()
    now.end("ray-1", Gone("out of memory"))
    for _ in range(5):
        assert now.end("ray-1", Gone("out of memory")) == []
    with pytest.raises(StoppedError, match="no worker stays up on the Ray cluster: out of memory"):
        now.end("ray-1", Gone("out of memory"))


def test_stop_kills_what_is_busy_and_renews_what_is_idle(ready: Callable[..., Stage]) -> None:
    now = ready()
    idle, busy = now.hand("ray-1"), now.hand("ray-2")
    now.executor.submit("ray-2", TASK)
    assert (now.executor.where("ray-1"), now.executor.where("ray-2")) == ("", "here")
    now.executor.stop("ray-1")
    now.executor.stop("ray-2")
    assert idle.exchanged and not idle.killed
    assert busy.killed and not busy.exchanged
    busy.tell(Done(cost=None))  # type: ignore[arg-type]
    assert now.poll() == [], "nothing more is heard of it"
    assert now.executor.slots == ("ray-1", "ray-2"), "both can be used again"
    now.executor.close()
    assert now.actors.closed and idle.killed and idle.joined


# -- clocks -------------------------------------------------------------------------------------


def test_who_is_timed_has_a_gpu_to_himself(ready: Callable[..., Stage]) -> None:
    now = ready({"CPU": 4.0, "GPU": 1.0}, cuda=True, gpus=0.5)
    shared = list(now.actors.made)
    assert [hand.options["num_gpus"] for hand in shared] == [0.5, 0.5]
    now.executor.submit("ray-1", TIMED)
    assert all(hand.killed for hand in shared), "else Ray could not give a whole one"
    alone = now.hand("ray-1")
    assert alone.options["num_gpus"] == 1.0 and alone.tasks == []
    alone.tell(Ready())
    now.poll()
    assert alone.tasks == [TIMED]
    alone.tell(Done(cost=None))  # type: ignore[arg-type]
    now.poll()
    now.executor.submit("ray-1", TIMED)
    assert alone.tasks == [TIMED, TIMED], "the next cohort goes on with it"
    alone.tell(Done(cost=None))  # type: ignore[arg-type]
    now.poll()
    now.executor.submit("ray-2", TASK)
    assert alone.killed
    assert [hand.options["num_gpus"] for hand in now.actors.made[3:]] == [0.5, 0.5]


def test_whole_gpus_and_processors_need_no_other_actor(ready: Callable[..., Stage]) -> None:
    for options in ({"cuda": True}, {}):
        now = ready({"CPU": 2.0, "GPU": 2.0}, **options)
        now.executor.submit("ray-1", TIMED)
        assert len(now.actors.made) == 2 and now.hand("ray-1").tasks == [TIMED]


# -- what was asked for -------------------------------------------------------------------------


def _choose(tmp_path: Path, *devices: str, live: bool = False, **options: Any) -> Any:
    spec = SimpleNamespace(defaults=SimpleNamespace(device=devices[0]))
    models = {name: SimpleNamespace(spec=SimpleNamespace(device=name)) for name in devices[1:]}
    return choose_executor(
        SimpleNamespace(spec=spec, models=models, live=live),  # type: ignore[arg-type]
        RunOptions(out=tmp_path, scratch=tmp_path, executor="ray", **options), 1, 0,
    )  # fmt: skip


def test_ray_hands_out_gpus_where_models_run_on_them(
    stage: Callable[..., Stage], tmp_path: Path
) -> None:
    stage({"CPU": 4.0, "GPU": 2.0})
    assert len(_choose(tmp_path, "auto").slots) == 4
    assert len(_choose(tmp_path, "cuda").slots) == 2
    assert len(_choose(tmp_path, "auto", "cpu", "cuda:0", ray_gpus=0.5).slots) == 4
    with pytest.raises(InputError, match="device 'cuda:1': Ray chooses the GPU of each worker"):
        _choose(tmp_path, "cpu", "cuda:1")


def test_live_objects_stay_where_they_are(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^executor='ray': a live model .* or workers=0$"):
        _choose(tmp_path, "cpu", live=True)
    assert _choose(tmp_path, "cpu", live=True, workers=0) is None


def test_options_of_ray_go_with_ray() -> None:
    for option in (["--ray-gpus", "0.5"], ["--ray-address", "auto"]):
        command = ["run", "--model", "m", "--data", "d", *option]
        done = CliRunner().invoke(application, command)
        assert done.exit_code == 2 and f"{option[0]} goes with --executor ray" in done.output
