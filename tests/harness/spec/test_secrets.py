"""A secret in a spec is refused, and not repeated."""

from __future__ import annotations

from typing import Any

import pytest

from crucibench.spec.check import parse_spec
from crucibench.util.errors import InputError

SECRET = "s3cr3t-9f2a"


def _spec(**model: Any) -> Any:
    entry = {"name": "tox", "uri": "oip:http://h/v2/models/tox"} | model
    return {"models": [entry], "data": [{"name": "d", "uri": "csv:d.csv"}]}


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        (
            {"Authorization": f"Bearer {SECRET}"},
            "header Authorization looks like a secret, and the spec is copied into every run: write"
            " Authorization: env:AUTHORIZATION and export the value as AUTHORIZATION",
        ),
        (
            {"X-Api-Key": SECRET},
            "header X-Api-Key looks like a secret, and the spec is copied into every run: write "
            "X-Api-Key: env:X_API_KEY and export the value as X_API_KEY",
        ),
        ({"cookie": f"a={SECRET}"}, "header cookie looks like a secret"),
        ({"X-Session-Token": SECRET}, "header X-Session-Token looks like a secret"),
        ({"Client-Secret": SECRET}, "header Client-Secret looks like a secret"),
        ({"X-Password": SECRET}, "header X-Password looks like a secret"),
        ({"X-Team": f"env:{SECRET}"}, "header X-Team: expected env:NAME with the name of an"),
        ({"X-Team": f"{SECRET}\nX-Other: 1"}, "header X-Team: a value can't begin or end with"),
        ({"X Team": SECRET}, "the name 'X Team' can't be that of a header"),
        ({"Content-Length": SECRET}, "header Content-Length is set by each request for itself"),
        ({"Authorization": [SECRET]}, "input should be a valid string"),
        (f"Authorization: {SECRET}", "input should be a valid dictionary"),
    ],
)
def test_headers(headers: Any, told: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_spec(_spec(headers=headers), "spec.yaml")
    assert told in str(caught.value) and str(caught.value).startswith("spec.yaml: models[0].head")
    assert SECRET not in str(caught.value)


def test_headers_that_are_fine() -> None:
    headers = {
        "Authorization": "env:TOX_TOKEN", "X-Api-Key": "Bearer env:KEY", "Host": "tox.example",
        "X-Team": "blue",
    }  # fmt: skip
    (model,) = parse_spec(_spec(headers=headers), "spec.yaml").models
    assert model.headers == headers


@pytest.mark.parametrize("user", [f"bob:{SECRET}", SECRET])
def test_addresses(user: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_spec(_spec(uri=f"oip:https://{user}@h/v2/models/tox?x"), "spec.yaml")
    assert str(caught.value) == (
        "spec.yaml: models[0].uri: the address holds a user name or a password, and addresses are "
        "copied into every run: say headers: {Authorization: env:NAME} instead"
    )


def test_an_at_sign_elsewhere_is_no_password() -> None:
    for uri in ("oip:http://h/v2/models/tox@2", "torch:models@home.py:cnn"):
        assert parse_spec(_spec(uri=uri), "spec.yaml").models[0].uri == uri


def test_other_mistakes_still_show_what_was_given() -> None:
    with pytest.raises(InputError, match="got 'three'"):
        parse_spec(_spec(remote={"concurrency": "three"}), "spec.yaml")
