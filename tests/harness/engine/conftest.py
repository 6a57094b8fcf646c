from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from crucibench.engine.listener import Listener
from crucibench.engine.resolve import Overrides, resolve
from crucibench.engine.run import RunOptions, execute
from crucibench.store.run import Run

Runner = Callable[..., Run]


@pytest.fixture
def run_spec(with_plugin: Path, tmp_path: Path) -> Runner:
    """Runs the sample suite on stripes; keywords override parts of the spec and the options."""

    def run(
        *,
        models: Mapping[str, str] | None = None,
        data: str = "stripes:300",
        defaults: Mapping[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        suites: tuple[str, ...] = ("sample",),
        out: str = "out",
        listener: Listener | None = None,
        **options: Any,
    ) -> Run:
        models = models or {"a": "nearest:0", "b": "nearest:1.5"}
        document = {
            "models": [{"name": name, "uri": uri} for name, uri in models.items()],
            "data": [{"name": "stripes", "uri": data}],
        }
        if settings is None and "b" in models:
            settings = {"sample.reference": "b"}
        overrides = Overrides(defaults=defaults or {}, settings=settings or {}, suites=suites)
        resolved = resolve(document, tmp_path, "spec", overrides)
        done = execute(
            resolved,
            RunOptions(out=tmp_path / out, scratch=tmp_path / "scratch", **options),
            listener or Listener(),
        )
        assert done is not None
        return done

    return run
