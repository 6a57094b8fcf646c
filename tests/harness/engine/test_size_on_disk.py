"""What inspection says of the files that a model's address names."""

from __future__ import annotations

from pathlib import Path

import pytest

from crucibench.engine.resolve.resolve import Overrides, resolve
from crucibench.engine.worker.inspect import _on_disk

FACTORY = "def net():\n    raise AssertionError('nobody opens it')\n"


@pytest.mark.parametrize(
    ("uri", "size"),
    [("torch:nets.py:net?weights=w.safetensors", 1234), ("torch:nets.py:net", None)],
)
def test_weights_count_and_source_does_not(tmp_path: Path, uri: str, size: int | None) -> None:
    (tmp_path / "nets.py").write_text(FACTORY)
    (tmp_path / "w.safetensors").write_bytes(b"0" * 1234)
    document = {
        "models": [{"name": "net", "uri": uri, "variants": ["bf16"]}],
        "data": [{"name": "digits", "uri": "sklearn:digits"}],
    }
    resolved = resolve(document, tmp_path, "test", Overrides())
    found = _on_disk(resolved.models["net"], tmp_path)
    assert found == ({} if size is None else {"file_bytes": size})
    assert _on_disk(resolved.models["net@bf16"], tmp_path) == {}
