"""The connection to a Ray cluster: found, or started on this machine; and what it has room for."""

from __future__ import annotations

import contextlib
import inspect
import logging
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from crucibench.util.errors import InputError
from crucibench.util.optional import need
from crucibench.util.user_errors import one_line

_OWN = "local"
_STORE_BYTES = 100 * 2**20
_CONNECT_SECONDS = 10.0
_TOKENS = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")


class Link:
    """A connection; `close` undoes what was done for it.

    Attributes:
        ray: the module.
    """

    def __init__(self, address: str | None, cpus: int) -> None:
        """Connects to a cluster, or starts one; does neither if the program has done so already.

        Args:
            address: ``HOST:PORT``, ``auto``, or None for what the environment variable RAY_ADDRESS
                says; without it, a cluster is started on this machine.
            cpus: that such a cluster has.

        Raises:
            InputError: if Ray is absent, or no cluster is at `address`.
        """
        # Before the import, which reads it: Ray reports on its use unless told not to.
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        self.ray: Any = need("ray", "ray")
        self._folder: str | None = None
        self._handler: Any = None
        self._ours = not self.ray.is_initialized()
        if not self._ours:
            return
        if threading.current_thread() is threading.main_thread():
            self._handler = signal.getsignal(signal.SIGTERM)  # which Ray takes over for good
        self._let_print(False)
        address = address or os.environ.get("RAY_ADDRESS") or _OWN
        try:
            with _quiet():
                self._start(cpus) if address == _OWN else self._connect(address)
        except BaseException:
            self.close()
            raise

    def nodes(self) -> list[Mapping[str, Any]]:
        """Returns the nodes that are alive."""
        return [node for node in self.ray.nodes() if node["Alive"]]

    def close(self) -> None:
        """Disconnects, and ends the cluster that was started."""
        if not self._ours:
            return
        self._ours = False
        waits = "wait_for_processes" in inspect.signature(self.ray.shutdown).parameters
        self.ray.shutdown(**({"wait_for_processes": True} if waits else {}))
        self._let_print(True)
        if self._handler is not None:
            signal.signal(signal.SIGTERM, self._handler)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _let_print(self, whether: bool) -> None:
        # A driver prints what happens to nodes on its standard output, where our data goes, and
        # Ray has no setting for that.
        worker: Any = getattr(getattr(self.ray, "_private", None), "worker", None)
        if hasattr(worker, "_worker_logs_enabled"):
            worker._worker_logs_enabled = whether

    def _start(self, cpus: int) -> None:
        # Ray listens on all interfaces: nobody else may give it work. Without a token in the
        # environment or at home it would write one there.
        known = (Path.home() / ".ray" / "auth_token").exists()
        if not known and not any(os.environ.get(name) for name in _TOKENS):
            os.environ[_TOKENS[0]] = secrets.token_hex(32)
        # The paths of its sockets must be short. Its logs are of no use once it has ended.
        parent = os.environ.get("RAY_TMPDIR") or ("/tmp" if Path("/tmp").is_dir() else None)
        self._folder = tempfile.mkdtemp(prefix="cb-ray-", dir=parent)
        self.ray.init(
            address=_OWN, num_cpus=cpus, include_dashboard=False, log_to_driver=False,
            configure_logging=False, object_store_memory=_STORE_BYTES, _temp_dir=self._folder,
        )  # fmt: skip

    def _connect(self, address: str) -> None:
        where = f"ray_address={address!r}"
        if "://" in address:
            raise InputError(
                f"{where}: expected HOST:PORT or auto: a run is started on a machine of the "
                "cluster, not through Ray Client"
            )
        if address != "auto":
            _check_reachable(address, where)
        try:
            self.ray.init(address=address, log_to_driver=False, configure_logging=False)
        except ConnectionError as error:
            raise InputError(f"{where}: no Ray cluster runs there") from error
        except Exception as error:
            raise InputError(f"{where}: {one_line(error)}") from error


def room(nodes: Sequence[Mapping[str, Any]], threads: int, gpus: float) -> int:
    """Returns how many workers fit on `nodes`."""
    return sum(_room(node.get("Resources", {}), threads, gpus) for node in nodes)


def _room(resources: Mapping[str, float], threads: int, gpus: float) -> int:
    workers = int(resources.get("CPU", 0.0)) // threads
    if gpus:
        workers = min(workers, int(resources.get("GPU", 0.0) / gpus + 1e-6))
    return workers


def most(nodes: Sequence[Mapping[str, Any]], resource: str) -> float:
    """Returns the most of a resource that one node has."""
    return max((float(node.get("Resources", {}).get(resource, 0.0)) for node in nodes), default=0.0)


def _check_reachable(address: str, where: str) -> None:
    # Ray tries for many minutes.
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise InputError(f"{where}: expected HOST:PORT or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"{where}: no Ray cluster answers there: {error}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps Ray from logging what it has set up."""
    logger = logging.getLogger("ray")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
