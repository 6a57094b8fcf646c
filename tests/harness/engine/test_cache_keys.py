"""What a cached cell is found by: everything that moves its records, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from crucibench.contracts.data import EvalSet
from crucibench.contracts.records import Columns
from crucibench.contracts.scenario import MapContext, Mapped, Work
from crucibench.engine.listener import Listener
from crucibench.engine.plan.cell_files import PlannedFiles
from crucibench.engine.plan.plan import PlannedCell, make_plan
from crucibench.engine.resolve.resolve import Overrides, Resolved, resolve
from crucibench.engine.worker.environment import environment
from crucibench.engine.worker.inspect import inspect_model
from crucibench.engine.worker.opening import Models, open_all_data
from crucibench.store.cell_cache import CacheKey
from crucibench.util.hashing import data_digest

MODELS = """
import torch
from parts import layers


def net():
    return layers()
"""
PARTS = """
import torch


def layers():
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))
"""
MODEL_FILES = frozenset({"weight", "reference", "source", "imported"})
DATA_FILES = frozenset({"pixel", "label"})
OF_THE_MODEL = frozenset({"weight", "source", "imported", "mean", "std", "output", "variant"})
OF_THE_DATA = frozenset({"pixel", "label", "classes"})
OF_ALL = frozenset({"seed", "threads", "batch", "library", "limit"})
EVERYWHERE = OF_THE_MODEL | OF_THE_DATA | OF_ALL
RELEVANT = {
    "pass/test": EVERYWHERE,
    "sample/noise": EVERYWHERE | {"sigma", "version"},
    "sample/transfer": EVERYWHERE | {"reference", "reference-mean", "reference-batch"},
}
NEUTRAL = frozenset({"model-name", "data-name", "other-suite", "other-model"})
INGREDIENTS = sorted(frozenset().union(*RELEVANT.values()) | NEUTRAL)

Change = frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Transfer(Mapped):
    """Reads another model's pass."""

    suite: str = "sample"
    name: str = "transfer"

    def run(self, stage: str, work: Work, context: MapContext) -> Columns:
        return {"id": list(work.batch.ids)}


@pytest.fixture(scope="module")
def plugged_in(sample_plugin: Path, plugged: Any) -> Iterator[Path]:
    with plugged(sample_plugin):
        yield sample_plugin


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


class Keys:
    """Finds the key of each cell of a spec without running it; what is alike is made once."""

    def __init__(self, folder: Path, plugin: Path) -> None:
        self._folder = folder
        self._environment = environment(folder, 1, "cpu")
        self.of = cache(self._of)
        self._evalset = cache(self._open)
        self._models_in = cache(self._write_models)

    def _of(self, change: Change) -> dict[str, CacheKey]:
        """Returns the keys of the cells of `net`, by address."""
        from crucibench_sample.suite import Noise  # type: ignore[import-not-found]

        resolved = self._resolved(change)
        model, data = next(iter(resolved.models)), next(iter(resolved.data))
        if "variant" in change:
            model += "@bf16"
        evalset = self._evalset(change & OF_THE_DATA, data)
        cards = {data: evalset.card}
        opened = Models(resolved, "cpu", cards)
        infos, sizes = {}, {}
        for name in resolved.models:
            found = inspect_model(
                resolved.models[name], opened.get(name, data), evalset, batch_size=16, limit=None,
                device="cpu", base=resolved.base,
            )  # fmt: skip
            infos[name, data] = found.info
            sizes[name] = {data: 8 if "batch" in change else 16}
        if "reference-batch" in change:
            sizes["reference"] = {data: 4}
        plan = make_plan(replace(resolved, batch_sizes=sizes), infos, cards)
        passes = {cell.model.name: cell for cell in plan if cell.scenario.suite == "pass"}
        limit = 20 if "limit" in change else None
        transfer = PlannedCell(
            id="transfer", scenario=Transfer(limit=limit), model=infos[model, data],
            data=cards[data], needs={"reference": passes["reference"].id},
            batch_size=sizes[model][data],
        )  # fmt: skip
        plan = replace(plan, cells=(*plan.cells, transfer))
        planned = PlannedFiles(plan, 7 if "seed" in change else 0, self._here(change), _no_ids, {})
        version = Noise.version
        Noise.version = 2 if "version" in change else version
        try:
            return {
                cell.scenario.address: CacheKey(
                    identity=planned.meaning(cell) or "", numerics=planned.numerics(cell),
                    outputs=cell.outputs,
                )
                for cell in plan
                if cell.model.name == model and cell.scenario.address in RELEVANT
            }  # fmt: skip
        finally:
            Noise.version = version

    def _here(self, change: Change) -> dict[str, Any]:
        found = dict(self._environment)
        if "threads" in change:
            found["threads"] = 2
        if "library" in change:
            found["versions"] = {**found["versions"], "torch": "1.0"}
        return found

    def _resolved(self, change: Change) -> Resolved:
        base = self._models_in(change & MODEL_FILES)
        half = {"mean": [0.5], "std": [0.25]}
        model = {
            "name": "other" if "model-name" in change else "net",
            "uri": "torch:models.py:net?weights=net.safetensors"
            + ("&output=probabilities" if "output" in change else ""),
            "variants": ["bf16"] if "variant" in change else [],
            "input": half | {key: [0.4] for key in ("mean", "std") if key in change},
        }
        reference = {
            "name": "reference", "uri": "torch:models.py:net?weights=reference.safetensors",
            "input": half | ({"mean": [0.4]} if "reference-mean" in change else {}),
        }  # fmt: skip
        models = [model, reference]
        if "other-model" in change:
            models.append({"name": "third", "uri": "torch:models.py:net"})
        data = {"name": "images" if "data-name" in change else "data", "uri": "npz:none.npz"}
        defaults = {"limit": 20} if "limit" in change else {}
        (base / "none.npz").touch()
        return resolve(
            {"models": models, "data": [data]}, base, "spec",
            Overrides(
                defaults=defaults,
                suites=("sample", "accuracy") if "other-suite" in change else ("sample",),
                settings={"sample.sigmas": [0.2]} if "sigma" in change else {},
            ),
        )  # fmt: skip

    def _write_models(self, change: Change) -> Path:
        base = self._folder / data_digest(sorted(change))[:12]
        base.mkdir()
        (base / "models.py").write_text(MODELS + ("# why not\n" if "source" in change else ""))
        (base / "parts.py").write_text(PARTS + ("# why not\n" if "imported" in change else ""))
        for name, changed in (("net", "weight"), ("reference", "reference")):
            torch.manual_seed(len(name))
            state = {"1.weight": torch.randn(2, 64), "1.bias": torch.randn(2)}
            if changed in change:
                state["1.weight"].view(torch.int32)[1, 63] ^= 1
            save_file(state, base / f"{name}.safetensors")
        return base

    def _open(self, change: Change, name: str) -> EvalSet:
        base = self._folder / f"{name}-{data_digest(sorted(change))[:12]}"
        base.mkdir()
        rng = np.random.default_rng(0)
        images = rng.uniform(size=(40, 8, 8)).astype(np.float32)
        labels = np.array(["cat", "dog"])[rng.integers(0, 2, 40)]
        if "pixel" in change:
            images[39, 7, 7] = np.nextafter(images[39, 7, 7], np.float32(0))
        if "label" in change:
            labels[39] = "cat" if labels[39] == "dog" else "dog"
        np.savez(base / "data.npz", images=images, labels=labels)
        classes = ["dog", "cat"] if "classes" in change else []
        document = {
            "models": [{"name": "m", "uri": "nearest:0"}],
            "data": [{"name": name, "uri": "npz:data.npz", "classes": classes}],
        }
        resolved = resolve(document, base, "spec", Overrides(suites=("sample",)))
        return open_all_data(resolved, self._folder / "scratch", Listener(), "spec")[name]


def _no_ids(data: str, role: str, limit: int | None) -> str:
    return ""


@pytest.fixture(scope="module")
def keys(folder: Path, plugged_in: Path) -> Keys:
    return Keys(folder, plugged_in)


@pytest.mark.parametrize("ingredient", INGREDIENTS)
def test_each_ingredient_alone_is_found_out_where_it_matters(keys: Keys, ingredient: str) -> None:
    before, after = keys.of(frozenset()), keys.of(frozenset({ingredient}))
    assert before.keys() == after.keys() == RELEVANT.keys()
    for address, relevant in RELEVANT.items():
        same = before[address] == after[address]
        assert same == (ingredient not in relevant), f"{ingredient} and {address}"


CHANGES = st.frozensets(st.sampled_from(INGREDIENTS), max_size=6)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(first=CHANGES, second=CHANGES, common=CHANGES)
def test_keys_are_equal_where_all_that_matters_is(
    keys: Keys, first: Change, second: Change, common: Change
) -> None:
    one, two = first | common, second | common
    found = keys.of(one), keys.of(two)
    for address, relevant in RELEVANT.items():
        same = found[0][address] == found[1][address]
        assert same == (one & relevant == two & relevant), address


def test_a_model_without_a_fingerprint_has_no_key(
    keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crucibench_adapters.torch_module import TorchAdapter

    monkeypatch.setattr(TorchAdapter, "fingerprint", lambda self: None)
    assert {key.identity for key in keys._of(frozenset()).values()} == {""}
