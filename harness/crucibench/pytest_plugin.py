"""pytest plug-in: a test that fails when a model is worse than its baseline.

    pytest --crucibench-baseline baseline.cbz

    def test_the_model_is_no_worse(crucibench_gate):
        crucibench_gate("torch:models.py:cnn?weights=cnn.safetensors", data="imagefolder:photos")

Loading it imports nothing of crucibench: a session that gates no model pays nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from crucibench.gating.result import GateVerdict
    from crucibench.store.run import Run


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options."""
    group = parser.getgroup("crucibench", "gating models")
    group.addoption("--crucibench-baseline", metavar="RUN",
                    help="the run or pack that models are held against")  # fmt: skip
    group.addoption("--crucibench-policy", metavar="FILE", default="policy.yaml",
                    help="the gate's policy (default: policy.yaml)")  # fmt: skip
    group.addoption("--crucibench-out", metavar="FOLDER", default=None,
                    help="where runs and verdicts are kept (default: a temporary one)")  # fmt: skip


class Gate:
    """What the fixture `crucibench_gate` gives: call it with a model and data."""

    def __init__(self, config: pytest.Config, folder: Path) -> None:
        self._config = config
        self._folder = folder

    def __call__(
        self,
        model: Any = None,
        *,
        data: Any = None,
        name: str = "model",
        spec: str | Path | Mapping[str, Any] | None = None,
        policy: str | Path | Mapping[str, Any] | None = None,
        baseline: str | Path | None = None,
        suites: Sequence[str] | None = None,
        **options: Any,
    ) -> GateVerdict:
        """Evaluates a model and asserts that the gate passes.

        Args:
            model: a live model or its URI.
            data: live data, or its URI.
            name: the model's name; the baseline's model must have it too, if it has several.
            spec: a spec instead of model and data.
            policy: in place of ``--crucibench-policy``: a file, or its content.
            baseline: in place of ``--crucibench-baseline``.
            suites: which to run; all that apply by default.
            options: further arguments of `crucibench.run`.

        Returns:
            The verdict, where the gate passes.
        """
        __tracebackhide__ = True
        from crucibench.api import run

        found = self._baseline(baseline)
        models = None if model is None else {name: model}
        done = run(spec, models=models, data=data, suites=suites, out=self._folder, **options)
        return self.judge(done, policy=policy, baseline=found)

    def judge(
        self,
        candidate: Run,
        *,
        policy: str | Path | Mapping[str, Any] | None = None,
        baseline: Run | str | Path | None = None,
    ) -> GateVerdict:
        """Asserts that a run that was made already passes the gate."""
        __tracebackhide__ = True
        from crucibench.api import gate
        from crucibench.gating.outputs import write_outputs
        from crucibench.gating.result import Outcome
        from crucibench.gating.text import plain_text

        if not isinstance(policy, Mapping):
            policy = self._path(policy or self._config.getoption("--crucibench-policy"))
        verdict = gate(self._baseline(baseline), candidate, policy)
        write_outputs(verdict, candidate.root / "gate")
        if verdict.outcome is not Outcome.PASS:
            pytest.fail(plain_text(verdict), pytrace=False)
        return verdict

    def _baseline(self, given: Run | str | Path | None) -> Run | Path:
        named = given or self._config.getoption("--crucibench-baseline")
        if named is None:
            pytest.skip("no baseline to hold the model against: pytest --crucibench-baseline RUN")
        return self._path(named) if isinstance(named, str | Path) else named

    def _path(self, given: str | Path) -> Path:
        # As pytest's own options: relative to where it was called.
        return self._config.invocation_params.dir / given


@pytest.fixture
def crucibench_gate(request: pytest.FixtureRequest, tmp_path: Path) -> Gate:
    """Evaluates a model and asserts that it passes the gate; see `Gate`."""
    out = request.config.getoption("--crucibench-out")
    folder = tmp_path if out is None else request.config.invocation_params.dir / out
    return Gate(request.config, Path(folder))
