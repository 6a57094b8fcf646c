"""What becomes of an actor, what a node must have, and how a cluster is found."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from crucibench.engine.executors import ray_cluster, ray_node
from crucibench.engine.executors.ray_cluster import RayConnection
from crucibench.engine.executors.ray_node import DriverPaths, difference
from crucibench.util.errors import InputError

# -- what an actor's end means ------------------------------------------------------------------


class _Kinds:
    class ActorDiedError(Exception):
        preempted = False

    class ActorUnavailableError(Exception):
        pass

    class NodeDiedError(Exception):
        pass


@pytest.mark.parametrize(
    ("error", "alive", "lost", "reason"),
    [
        (_Kinds.ActorDiedError("the process died"), True, False, "was killed in the middle"),
        (_Kinds.ActorDiedError("its node has died"), False, True, "node b is gone"),
        (_Kinds.ActorUnavailableError(""), True, True, "node b is gone"),
        (_Kinds.NodeDiedError(""), True, True, "node b is gone"),
        (_Kinds.ActorDiedError("the node was low on memory"), True, False, "ran out of memory"),
    ],
)
def test_a_lost_node_is_told_from_a_killed_actor(
    error: Exception, alive: bool, lost: bool, reason: str
) -> None:
    ray = SimpleNamespace(exceptions=_Kinds)
    hand = ray_cluster.ActorHandle(ray, None, "ray-1", lambda *news: None, whole=False)
    assert hand.gone(error, lambda node: alive).lost, "it never had a place"
    hand.node, hand.host = "n1", "b"
    gone = hand.gone(error, lambda node: alive)
    assert gone.lost is lost and reason in gone.reason


# -- nodes --------------------------------------------------------------------------------------


def test_a_difference_names_its_field() -> None:
    here = {"Python": "3.12", "torch": "2.6", "cuda": "12"}
    assert difference(here, dict(here)) == ""
    assert difference(here, {**here, "torch": "2.5"}) == "torch is 2.5 there and 2.6 here"
    assert difference({"torch": "2.6"}, here) == "Python is 3.12 there and absent here"


def test_a_folder_that_is_not_the_run_s_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_node, "_SEE_SECONDS", 0.0)
    node = ray_node.Node.__new__(ray_node.Node)
    with ray_cluster._probe(tmp_path / "not" / "yet") as (file, content):
        assert file.parent == tmp_path
        assert node.sees(file, content) == ""
        assert "sees another folder" in node.sees(file, "other")
        gone = tmp_path / "gone" / file.name
        wrong = node.sees(gone, content)
        assert wrong.startswith("node ") and wrong.endswith(
            "of this run: No such file or directory"
        )
        assert f"does not see the folder {str(gone.parent)!r}" in wrong
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    node = ray_node.Node.__new__(ray_node.Node)
    begun = time.monotonic()
    file = tmp_path / "probe"

    class Late(type(file)):  # type: ignore[misc]
        def read_text(self, *given: Any, **more: Any) -> str:
            if time.monotonic() - begun < 0.3:
                raise FileNotFoundError(2, "not yet")
            return "content"

    assert node.sees(Late(file), "content") == ""


def test_a_node_like_the_driver_imports_as_the_driver_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "plugin").mkdir()
    monkeypatch.setattr(sys, "path", ["", "plugin", "absent", *sys.path])
    home = DriverPaths.here()
    assert home.folder == str(tmp_path)
    assert home.path[:2] == (str(tmp_path), str(tmp_path / "plugin"))
    assert not any("absent" in entry for entry in home.path)
    assert home.path_on_node() == list(home.path)


@pytest.fixture
def ray() -> Iterator[Any]:
    before = os.environ.get("RAY_USAGE_STATS_ENABLED")
    yield pytest.importorskip("ray")
    if before is None:
        os.environ.pop("RAY_USAGE_STATS_ENABLED", None)


def test_a_node_at_another_place_keeps_its_own_path(
    ray: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plugin").mkdir()
    (tmp_path / "cwd").mkdir()
    folder = Path(ray.__file__).parent
    added = [str(tmp_path / "cwd"), str(folder / "_private" / "workers")]
    monkeypatch.setattr(sys, "path", [*added, "/own/stdlib", "/own/site-packages"])
    plugin = str(tmp_path / "plugin")
    home = DriverPaths((plugin, "/driver/site-packages"), str(tmp_path / "cwd"))
    assert home.path_on_node() == ["/own/stdlib", "/own/site-packages", plugin]


# -- the connection -----------------------------------------------------------------------------


def test_what_ray_says_is_told(ray: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Exception] = []

    def init(**options: Any) -> None:
        raise said[-1]

    monkeypatch.setattr(ray, "init", init)
    for error, sentence in (
        (ConnectionError("with --address"), "ray_address='auto': no Ray cluster runs there$"),
        (RuntimeError("Version mismatch: 2 and 3"), "ray_address='auto': .*mismatch: 2 and 3$"),
    ):
        said.append(error)
        with pytest.raises(InputError, match=sentence):
            RayConnection("auto", 1)


def test_without_ray_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        InputError, match=r'^ray is not installed: pip install "crucibench\[ray\]"$'
    ):
        RayConnection(None, 1)


@pytest.mark.sockets
@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("ray://host:10001", "expected HOST:PORT or auto: a run is started on a machine of the"),
        ("somewhere", "expected HOST:PORT or auto"),
        ("127.0.0.1:1", "no Ray cluster answers there: .*refused"),
        ("127.0.0.1:99999", "no Ray cluster answers there"),
    ],
)
def test_an_address_without_a_cluster_is_told_at_once(
    ray: Any, address: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "_CONNECT_SECONDS", 1.0)
    with pytest.raises(InputError, match=f"^ray_address='{address}': {sentence}"):
        RayConnection(address, 1)
    assert not ray.is_initialized()
