"""Asks lm-evaluation-harness: run by an interpreter that has it, with a folder.

    PYTHON _prompted_peer.py FOLDER

The folder holds ``model`` and ``choices.jsonl``, ``passages.jsonl``, ``written.jsonl``;
``peer.json`` is written: what was answered to each item, and CPU seconds.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

FOLDER = Path(sys.argv[1]).resolve()


def main() -> None:
    """Asks, and writes what was found."""
    import torch
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    torch.set_num_threads(1)
    shared = {"dataset_path": "json", "test_split": "test", "metadata": {"version": 0}}
    choices = [
        {
            **shared, "task": name, "output_type": "multiple_choice",
            "dataset_kwargs": {"data_files": {"test": str(FOLDER / f"{name}.jsonl")}},
            "doc_to_text": "{{passage}}Question: What is {{word}}?\nAnswer:",
            "doc_to_choice": "{{options}}",
            "doc_to_target": "{{answer}}",
            "metric_list": [{"metric": one} for one in ("acc", "acc_norm", "acc_bytes")],
        }
        for name in ("choices", "passages", "examples")
    ]  # fmt: skip
    tasks = [
        *choices,
        {
            **shared, "task": "written", "output_type": "generate_until",
            "dataset_kwargs": {"data_files": {"test": str(FOLDER / "written.jsonl")}},
            "doc_to_text": "Question: {{a}} + {{b}}?\nAnswer:", "doc_to_target": "{{answer}}",
            "generation_kwargs": {"until": ["\n"], "max_gen_toks": 6, "do_sample": False},
            "metric_list": [{"metric": "exact_match"}],
            "filter_list": [
                {"name": "number", "filter": [
                    {"function": "regex", "regex_pattern": "(-?\\d+)"}, {"function": "take_first"},
                ]}
            ],
        },
    ]  # fmt: skip
    asking = {"seconds": 0.0}

    class Timed(HFLM):
        """Notes the CPU seconds of asking alone."""

        def loglikelihood(self, *args: Any, **kwargs: Any) -> Any:
            begun = time.process_time()
            found = super().loglikelihood(*args, **kwargs)
            asking["seconds"] += time.process_time() - begun
            return found

        def generate_until(self, *args: Any, **kwargs: Any) -> Any:
            begun = time.process_time()
            found = super().generate_until(*args, **kwargs)
            asking["seconds"] += time.process_time() - begun
            return found

    model = Timed(pretrained=str(FOLDER / "model"), device="cpu", dtype="float32", batch_size=64)
    found: dict[str, object] = {}
    for task in tasks:
        asking["seconds"], begun = 0.0, time.process_time()
        result = simple_evaluate(
            model=model, tasks=[task], task_manager=TaskManager(), log_samples=True,
            bootstrap_iters=0,
        )  # fmt: skip
        seconds = time.process_time() - begun
        name = str(task["task"])
        samples = sorted(result["samples"][name], key=lambda one: one["doc_id"])
        found[name] = {
            "seconds": seconds, "asking": asking["seconds"], "samples": samples,
        }  # fmt: skip
    for name, dtype, size in (("alone", "float32", 1), ("exact", "float64", 64)):
        other = HFLM(
            pretrained=str(FOLDER / "model"), device="cpu", dtype=dtype, batch_size=size
        )  # fmt: skip
        result = simple_evaluate(
            model=other, tasks=[choices[0]], task_manager=TaskManager(), log_samples=True,
            bootstrap_iters=0,
        )  # fmt: skip
        samples = sorted(result["samples"]["choices"], key=lambda one: one["doc_id"])
        found[name] = {"samples": samples}
    (FOLDER / "peer.json").write_text(json.dumps(found, default=str))


if __name__ == "__main__":
    main()
