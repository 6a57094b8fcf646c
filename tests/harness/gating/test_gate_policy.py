from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from crucibench.gating.policy import Policy, Size, fits, parse_policy, parse_size, read_policy
from crucibench.util.errors import InputError


def test_brackets_of_an_address_are_literal() -> None:
    address = "cnn:shift/gaussian_noise[severity=3]/top-1"
    assert fits("*:shift/*[severity=3]/top-1", address)
    assert fits("cnn:shift/gaussian_noise[[]severity=3]/top-1", address) is False
    assert not fits("*:shift/*[severity=5]/top-1", address)
    assert not fits("*:shift/*[sevrity3=]/top-1", address)
    assert fits("*:adversarial/*/robust-accuracy", "a:adversarial/x[eps=0.1]/robust-accuracy")
    assert not fits("*:accuracy/*/top-1", "a:accuracy/clean/top-1@yes")
    assert not fits("*/TOP-1", "a:accuracy/clean/top-1")


def test_sizes() -> None:
    assert parse_size(0.01) == Size(0.01)
    assert parse_size("1/255") == Size(1 / 255)
    assert parse_size("2%") == Size(0.02, relative=True)
    assert parse_size(" 2.5 % ").of(-0.8) == pytest.approx(0.02)
    assert parse_size(3) == Size(3.0)
    for wrong in ("two", "2%%", True, None, 0, "0%", -0.1, "100%", float("inf"), [1]):
        with pytest.raises(ValueError, match="expected"):
            parse_size(wrong)


def test_a_policy_file(tmp_path: Path) -> None:
    path = tmp_path / "policy.yaml"
    path.write_text(
        """
        schema_version: 1
        anchor: old.cbz
        required:
          - {name: accuracy, address: "*:accuracy/clean/top-1", margin: 0.01, floor: 0.8}
          - {address: "*:adversarial/*/robust-accuracy", no_worse: true, detect: "2%"}
        advisory:
          - {address: "*:throughput/*/p99", margin: 5%, on_inconclusive: pass}
        waivers:
          - {rule: accuracy, until: 2026-12-31, reason: agreed}
          - {rule: "cnn:adversarial/x[eps=0.1]/robust-accuracy", until: "2026-01-31", reason: too}
        """
    )
    policy = read_policy(path)
    assert [tier for tier, _ in policy.rules()] == ["required", "required", "advisory"]
    assert policy.required[0].title == "accuracy" and policy.required[0].margin == Size(0.01)
    assert policy.required[1].detect == Size(0.02, relative=True)
    assert policy.waivers[1].until == date(2026, 1, 31)
    assert not policy.waivers[1].expired(date(2026, 1, 31))
    assert policy.waivers[1].expired(date(2026, 2, 1))


def test_all_mistakes_at_once() -> None:
    with pytest.raises(InputError) as caught:
        parse_policy(
            {
                "required": [
                    {"address": "*:a/b/c", "margn": 0.1},
                    {"address": "*:a/b/c", "margin": -1},
                    {"address": "*:a/b/c"},
                    {"address": "*:a/b/c", "margin": 0.1, "no_worse": True, "detect": 0.1},
                    {"address": "*:a/b/c", "no_worse": True},
                    {"address": "*:a/b/c", "margin": 0.1, "detect": 0.1},
                ],
                "waivers": [{"rule": "x", "until": "soon", "reason": "y"}],
            },
            "policy.yaml",
        )
    text = str(caught.value)
    assert text.startswith("policy.yaml: 7 mistakes:")
    assert "required[0].margn: unknown key; did you mean 'margin'?" in text
    assert "required[1].margin: expected more than 0; for no loss at all say no_worse" in text
    assert "required[2]: expected margin, no_worse or floor" in text
    assert "required[3]: expected margin or no_worse, not both" in text
    assert "required[4]: no_worse needs detect" in text
    assert "required[5]: detect goes with no_worse" in text
    assert "waivers[0].until: expected a date like 2027-03-31" in text


def test_mistakes_across_rules() -> None:
    rule = {"name": "r", "address": "*:a/b/c", "margin": 0.1}
    with pytest.raises(InputError) as caught:
        parse_policy(
            {
                "required": [rule],
                "supporting": [{**rule, "on_inconclusive": "block"}],
                "advisory": [{"address": "nonsense", "margin": 0.1}],
                "waivers": [{"rule": "s", "until": date(2026, 1, 1), "reason": "z"}],
            },
            "p",
        )
    text = str(caught.value)
    assert "the name 'r' is given to 2 rules" in text
    assert "supporting[0].on_inconclusive: only required rules block" in text
    assert "advisory[0].address: address 'nonsense': expected MODEL:SUITE/SCENARIO" in text
    assert "waivers[0].rule: unknown rule 's'" in text


@pytest.mark.parametrize("content", ["", "[]", "required: []", "{"])
def test_no_policy(content: str, tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(content)
    with pytest.raises(InputError, match=r"p\.yaml"):
        read_policy(path)


def test_a_policy_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.yaml: expected a file .* no such file"):
        read_policy(tmp_path / "none.yaml")


def test_the_schema_knows_both_ways_to_write_a_size() -> None:
    schema = Policy.model_json_schema()
    margin = schema["$defs"]["Rule"]["properties"]["margin"]
    kinds = {kind.get("type") for kind in margin["anyOf"]}
    assert kinds == {"number", "string", "null"}
