"""What every registered suite declares."""

from __future__ import annotations

import pytest

from crucibench.registry import suites


@pytest.mark.parametrize("name", suites().names())
def test_headline_and_sections_name_declared_metrics(name: str) -> None:
    suite = suites().get(name)
    ids = {info.id for info in suite.metrics}
    assert {address.rpartition("/")[2] for address in suite.headline} <= ids
    for section in suite.sections:
        assert set(section.metrics) <= ids
        assert section.kind in {"metrics", "gallery"} or section.metrics or section.table
