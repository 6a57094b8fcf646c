"""An attack from an installed package: checked by the kit, named in a spec, planned and run."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

import crucibench as cb
from crucibench.contracts.attack import attacks
from crucibench.contracts.verdict import Status
from crucibench.testing import check_attack
from crucibench.util.errors import InputError
from crucibench_suites.adversarial.config import AdversarialConfig

ROOT = Path(__file__).parents[2]

NET = """
import torch


def net():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
"""


@pytest.mark.usefixtures("with_plugin")
def test_an_attack_of_a_package_is_checked_planned_and_run(tmp_path: Path) -> None:
    source = ROOT / "sample_plugin" / "crucibench_sample" / "attack.py"
    assert len(source.read_text(encoding="utf-8").splitlines()) <= 40
    check_attack(attacks().get("sign-steps"))
    (tmp_path / "net.py").write_text(NET, encoding="utf-8")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of SciPy, at what foolbox imports
        run = cb.run(
            models={"net": f"torch:{tmp_path}/net.py:net"}, data="sklearn:digits",
            suites=["adversarial"], out=tmp_path / "out", workers=0, cache=False,
            settings={"adversarial.attacks": "sign-steps", "adversarial.eps": [0.1, 0.3]},
            defaults={"limit": 30, "replicates": 100},
        )  # fmt: skip
    cells = {file.scenario: file for file in run.cells.values() if file.suite == "adversarial"}
    assert cells["sign-steps-linf"].status == Status.OK
    assert not cells["sign-steps-linf"].findings
    records = run.records(next(c for c, f in run.cells.items() if f is cells["sign-steps-linf"]))
    assert len(records) and (records["level"] < 2).any()
    assert (records["backwards"] == 10 * (records["level"] + 1).clip(upper=2)).all()


@pytest.mark.usefixtures("with_plugin")
def test_an_attack_is_named_rightly() -> None:
    assert AdversarialConfig(attacks=("sign-steps",)).registered("image")[0].name == "sign-steps"
    for setting, message in (
        ({"attacks": ("sign-stepz",)}, "did you mean 'sign-steps'"),
        ({"norm": ("l2",), "attacks": ("sign-steps",)}, "is an attack in linf, not in l2"),
    ):
        with pytest.raises(ValueError, match=message):
            AdversarialConfig.model_validate(setting)
    with pytest.raises(InputError, match="attacks images, the data are tables"):
        AdversarialConfig(attacks=("sign-steps",)).registered("table")
