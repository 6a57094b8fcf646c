"""With and without loading and preprocessing: scripted parts, a model in a run, and a slow file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import crucibench as cb
from crucibench.contracts.adapter import Answer
from crucibench.contracts.batch import Batch
from crucibench.contracts.capability import Capability
from crucibench.integrity.verify import verify
from crucibench.metrics.scoring import score
from crucibench_suites.throughput.regimes import EndToEnd

from .conftest import READING, Measure, Scripted

END_TO_END = EndToEnd(seconds=0.2, turns=2)
ENCODING, MODEL = 2e-4, 1e-3


class Encoding(Scripted):
    """Takes 0.2 ms a sample to encode, and 1 ms a batch to answer."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.capabilities |= {Capability.GRADIENTS}
        self.batches: dict[int, Batch] = {}

    def encode(self, batch: Batch) -> torch.Tensor:
        self.clock.work(ENCODING * len(batch))
        column = torch.from_numpy(batch.inputs["x"].to_numpy().copy())
        return torch.stack([-column, column], dim=1)

    def timed(self, batch: Batch) -> object:
        return self.timed_encoded(self.encode(batch))

    def timed_encoded(self, inputs: torch.Tensor) -> object:
        self.clock.work(MODEL)
        return Answer(scores=inputs.numpy())


@pytest.mark.parametrize("size", [1, 64])
def test_each_place_has_what_lies_behind_it(measure: Measure, size: int) -> None:
    found = measure(END_TO_END, adapter=Encoding)
    expected = {"encoded": MODEL, "sample": MODEL + ENCODING * size}
    expected["source"] = expected["sample"] + READING * size
    for start, seconds in expected.items():
        point = f"from={start},batch={size}"
        assert found.rows["latency-mean", point].value == pytest.approx(1e3 * seconds, rel=1e-3)
        assert found.rows["throughput", point].value == pytest.approx(size / seconds, rel=1e-3)
        ratio = found.rows["prepared-ratio", point]
        assert ratio.value == pytest.approx(seconds / expected["sample"], rel=1e-3)
    assert found.findings == {}


def test_the_table_says_what_is_inside(measure: Measure) -> None:
    class OnCuda(Encoding):
        device = "cuda:0"

    told = {}
    for adapter in (Encoding, OnCuda):
        scenario = EndToEnd(seconds=0.05, turns=2)
        found = measure(scenario, adapter=adapter)
        table = score(scenario, found.evidence).tables["inside"]
        told[adapter] = table[table.batch == 1].set_index("from")
    inside = told[OnCuda]
    assert inside.reading_and_decoding.to_dict() == {
        "source": "inside", "sample": "outside", "encoded": "outside",
    }  # fmt: skip
    assert inside.preprocessing.to_dict() == {
        "source": "inside", "sample": "inside", "encoded": "outside",
    }  # fmt: skip
    assert inside.copy_to_the_device.to_dict() == inside.preprocessing.to_dict()
    assert set(told[Encoding].copy_to_the_device) == {"there is none"}


def test_a_model_that_torch_cannot_look_into_has_two_places(measure: Measure) -> None:
    found = measure(END_TO_END)
    row = found.rows["latency-p50", "from=encoded,batch=1"]
    assert row.value is None
    assert row.reason == "torch can't look into the model: its preprocessing is a part of it"
    sample, source = (
        found.rows["latency-p50", f"from={start},batch=1"].value for start in ("sample", "source")
    )
    assert source - sample == pytest.approx(1e3 * READING, rel=1e-3)
    assert found.findings == {}


def test_answers_to_what_was_read_anew_are_checked(measure: Measure) -> None:
    class Hasty(Encoding):
        def timed_encoded(self, inputs: torch.Tensor) -> object:
            return Answer(scores=np.tile([[1.0, -1.0]], (len(inputs), 1)))

    assert "wrong-answers-while-timed" in measure(END_TO_END, adapter=Hasty).findings


class Small(torch.nn.Module):
    crucibench_input = {"size": [8, 8], "range": [0, 1], "channels": 1}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(64, 2)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.layer(pixels.flatten(1))


def test_images_are_decoded_anew_for_each_query(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(4):
            pixels = rng.integers(0, 256, (600, 600), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    run = cb.run(
        models={"small": Small()},
        data=f"imagefolder:{tmp_path / 'photos'}",
        suites=["throughput"],
        settings={
            "throughput.seconds": 0.1, "throughput.rounds": 2,
            "throughput.scenarios": ["end-to-end"],
        },
        defaults={"replicates": 100},
        out=tmp_path / "out",
    )  # fmt: skip
    assert verify(run) == []
    (cell,) = (cell for cell in run.cells.values() if cell.scenario == "end-to-end")
    assert str(cell.status) == "ok", cell.reason
    codes = {finding.code for finding in cell.findings}
    assert not codes & {"wrong-answers-while-timed", "other-numerics-while-timed"}
    rows = run.metrics().query("metric == 'latency-mean'").set_index("point").value
    source, sample, encoded = (
        rows[f"from={start},batch=1"] for start in ("source", "sample", "encoded")
    )
    # Decoding 360,000 pixels takes far longer than multiplying 64 numbers twice.
    assert source > 3 * max(sample, encoded)
