from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from crucibench.contracts.uri import parse_uri, split_name, with_scheme
from crucibench.spec.check import parse_spec, tracks_of
from crucibench.spec.models import Spec
from crucibench.spec.secrets import address_mistake
from crucibench.util.errors import InputError
from crucibench.util.untrusted.yaml_text import dump_yaml, parse_yaml, read_yaml

MINIMAL: dict[str, Any] = {
    "models": [{"name": "cnn", "uri": "torch:models.py:cnn"}],
    "data": [{"name": "digits", "uri": "sklearn:digits"}],
}


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("oip:http://host/m?api_key=abc", "api_key"),
        ("csv:https://host/a.csv?version=2&X-Amz-Signature=ff", "X-Amz-Signature"),
        ("csv:https://host/a.csv?sig=1", "sig"),
        ("csv:https://host/a.csv?version=2", ""),
        ("oip:http://host/tokens/m?version=1", ""),
        ("parquet:s3://bucket/key/x.parquet?design=1", ""),
        ("csv:a.csv?token=1", ""),
    ],
)
def test_a_secret_in_an_address_is_refused(address: str, name: str) -> None:
    mistake = address_mistake(address)
    assert (f"as {name} says" in mistake) if mistake else not name
    kind = "models" if address.startswith("oip") else "data"
    document = {"models": [{"uri": "a:b", "name": "m"}], "data": [{"uri": "c:d", "name": "d"}]}
    document[kind][0]["uri"] = address
    if name:
        with pytest.raises(InputError, match=f"as {name} says"):
            parse_spec(document, "spec.yaml")


def test_the_smallest_spec_has_sensible_defaults() -> None:
    spec = parse_spec(MINIMAL, "spec")
    assert (spec.defaults.preset, spec.defaults.seed, spec.defaults.timeout) == ("quick", 0, 1800.0)
    assert [(track.models, track.data) for track in tracks_of(spec)] == [(["cnn"], "digits")]


def test_the_design_example_is_read(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(
        """
schema_version: 1
defaults: {preset: quick, seed: 0, limit: null, timeout: 30m}
models:
  - {name: cnn, uri: "torch:models.py:cnn?weights=cnn.safetensors", variants: [fp32, bf16],
     input: {range: [0, 1], mean: [0.5], std: [0.25]}, device: auto,
     card: {licence: Apache-2.0, trained_on: [photos-train]}}
  - {name: fraud, uri: "sklearn:fraud.skops", decision: {positive: fraud, threshold: 0.31}}
  - {name: tox, uri: "oip:https://tox.example/v2/models/tox", headers: {Authorization: env:TOX},
     remote: {concurrency: 8, requests_per_second: 50, max_requests: 200000}}
data:
  - {name: photos, uri: "imagefolder:photos"}
  - {name: claims, uri: "parquet:claims/*.parquet", target: label, id: claim_id,
     groups: [sex, age_band], cluster: customer}
tracks:
  - {name: vision, models: [cnn], data: photos, suites: [accuracy, shift]}
  - {name: fraud, models: [fraud], data: claims, suites: [accuracy, bias]}
suites:
  adversarial: {norm: linf, eps: [2/255, 4/255, 8/255]}
  accuracy:
"""
    )
    spec = parse_spec(read_yaml(path), str(path))
    assert spec.defaults.timeout == 1800.0
    assert spec.suites["accuracy"] == {}
    decision = spec.models[1].decision
    assert decision is not None and decision.positive == "fraud"


def test_all_mistakes_are_reported_at_once_with_their_paths() -> None:
    broken = {
        "defaults": {"preset": "quik", "seed": "yes please"},
        "models": [
            {"name": "a:b", "uri": "torch:x.py:f", "varients": ["bf16"]},
            {"uri": "sklearn:m.skops", "input": {"std": [0.0]}},
        ],
        "data": [{"name": "d", "uri": "csv:x.csv", "split": 2}],
        "tracs": [],
    }
    with pytest.raises(InputError) as caught:
        parse_spec(broken, "spec.yaml")
    text = str(caught.value)
    assert text.startswith("spec.yaml: 8 mistakes:")
    for line in (
        "defaults.preset: input should be 'quick', 'standard' or 'full', got 'quik'",
        "defaults.seed: input should be a valid integer, got 'yes please'",
        "models[0].name: a name can't hold ':' or control characters, got 'a:b'",
        "models[0].varients: unknown key; did you mean 'variants'?",
        "models[1].name: is missing",
        "models[1].input.std[0]: input should be greater than 0, got 0.0",
        "data[0].split: input should be less than 1, got 2",
        "tracs: unknown key; did you mean 'tracks'?",
    ):
        assert line in text


def test_names_must_be_known_and_stand_once() -> None:
    broken = {
        "models": [{"name": "a", "uri": "x:1"}, {"name": "a", "uri": "x:2"}],
        "data": [{"name": "d", "uri": "y:1"}],
        "tracks": [{"name": "t", "models": ["b"], "data": "e"}],
    }
    with pytest.raises(InputError) as caught:
        parse_spec(broken, "spec")
    assert "models: the name 'a' stands twice" in str(caught.value)
    assert "tracks[0].models: unknown model 'b'" in str(caught.value)
    assert "tracks[0].data: unknown data set 'e'" in str(caught.value)


def test_several_data_sets_need_tracks() -> None:
    spec = {**MINIMAL, "data": [*MINIMAL["data"], {"name": "wine", "uri": "sklearn:wine"}]}
    with pytest.raises(InputError, match="tracks: is missing: with 2 data sets"):
        parse_spec(spec, "spec")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: no", "no"), ("a: yes", "yes"), ("a: true", True), ("a: 1e-3", 0.001),
        ("a: 8/255", "8/255"), ("a: 1_000", 1000), ("a: 0.5", 0.5), ("a: 12", 12), ("a: on", "on"),
    ],
)  # fmt: skip
def test_yaml_as_people_mean_it(text: str, value: object) -> None:
    assert parse_yaml(text, "x")["a"] == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "x: line 2: expected each key once, got 'a' twice"),
        ("a: [1, 2", "x: line 1: expected YAML (did not find expected ',' or ']'), got 'a: [1"),
        (
            "a: !!python/object:os.system {}",
            "x: line 1: expected plain YAML, got the tag python/object:os",
        ),
    ],
)
def test_bad_yaml_names_the_line(text: str, message: str, refusal: Any) -> None:
    assert refusal(InputError, lambda: parse_yaml(text, "x")).startswith(message)


@pytest.mark.parametrize(("data", "kind"), [(None, "nothing"), ([1], "list"), ("x", "str")])
def test_a_spec_is_a_mapping(data: object, kind: str) -> None:
    with pytest.raises(InputError, match=f"expected a mapping with models and data, got {kind}"):
        parse_spec(data, "spec")


def test_the_resolved_form_survives_yaml() -> None:
    spec = parse_spec(MINIMAL, "spec")
    again = yaml.safe_load(yaml.safe_dump(spec.model_dump(mode="json")))
    assert Spec.model_validate(again) == spec


@pytest.mark.parametrize(
    ("text", "name", "uri"),
    [
        ("cnn=torch:models.py:cnn", "cnn", "torch:models.py:cnn"),
        ("torch:models.py:cnn", None, "torch:models.py:cnn"),
        ("csv:FILE?target=y", None, "csv:FILE?target=y"),
        ("d=csv:FILE?target=y", "d", "csv:FILE?target=y"),
    ],
)
def test_a_name_is_matched_before_the_first_colon(text: str, name: str | None, uri: str) -> None:
    assert split_name(text) == (name, uri)


def test_uris_are_parsed_and_decoded() -> None:
    uri = parse_uri("csv:my%20data.csv?target=a%26b&groups=sex,age&flag=true")
    assert (uri.scheme, uri.rest) == ("csv", "my%20data.csv")
    assert uri.query["target"] == "a&b"
    assert uri.names("groups") == ("sex", "age")
    assert uri.flag("flag") and not uri.flag("other")


@pytest.mark.parametrize("text", ["models.py", "", "9x:y"])
def test_an_address_needs_a_scheme(text: str) -> None:
    with pytest.raises(InputError, match="expected SCHEME:REST, e"):
        parse_uri(text)


@pytest.mark.parametrize(
    ("text", "what", "meant"),
    [
        ("a b.csv?target=y", "data", "csv:a b.csv?target=y"),
        ("x.skops", "model", "sklearn:x.skops"),
        ("x.csv", "model", "predictions:x.csv"),
        ("csv:x.csv", "data", "csv:x.csv"),
        ("x.py", "model", "x.py"),
    ],
)
def test_a_file_gets_the_scheme_that_its_suffix_names(
    text: str, what: Literal["data", "model"], meant: str
) -> None:
    assert with_scheme(text, what) == meant


def test_classes_that_are_numbers_in_yaml_are_names(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(
        "models:\n"
        '  - {name: a, uri: "torch:m.py:f", classes: {0: 7, 1: cat}}\n'
        '  - {name: b, uri: "torch:m.py:f", classes: [0, 1]}\n'
        'data: [{name: d, uri: "csv:d.csv", classes: [0, 1]}]\n',
        encoding="utf-8",
    )
    spec = parse_spec(read_yaml(path), "spec.yaml")
    assert spec.models[0].classes == {"0": "7", "1": "cat"}
    assert spec.models[1].classes == spec.data[0].classes == ["0", "1"]
    # What a run keeps of it reads as the same.
    again = parse_spec(parse_yaml(dump_yaml(spec.model_dump(mode="json")), "spec.yaml"), "again")
    assert again == spec


@pytest.mark.parametrize("classes", ["{true: cat}", "{0: 1.5}", "[1.5, 2.5]", "[true, false]"])
def test_classes_that_are_no_names(classes: str) -> None:
    document = parse_yaml(f'[{{name: a, uri: "torch:m.py:f", classes: {classes}}}]', "it")
    with pytest.raises(InputError, match="classes"):
        parse_spec({**MINIMAL, "models": document}, "spec")


SECRET = "s3cr3t-9f2a"


def _spec(**model: Any) -> Any:
    entry = {"name": "tox", "uri": "oip:http://h/v2/models/tox"} | model
    return {"models": [entry], "data": [{"name": "d", "uri": "csv:d.csv"}]}


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        (
            {"Authorization": f"Bearer {SECRET}"},
            "header Authorization may hold a secret, and the spec is copied into every run: write"
            " Authorization: env:AUTHORIZATION and export the value as AUTHORIZATION",
        ),
        (
            {"X-Api-Key": SECRET},
            "header X-Api-Key may hold a secret, and the spec is copied into every run: write "
            "X-Api-Key: env:X_API_KEY and export the value as X_API_KEY",
        ),
        ({"cookie": f"a={SECRET}"}, "header cookie may hold a secret"),
        ({"X-Session-Token": SECRET}, "header X-Session-Token may hold a secret"),
        ({"Client-Secret": SECRET}, "header Client-Secret may hold a secret"),
        *(
            ({name: SECRET}, f"header {name} may hold a secret")
            for name in ("X-Auth", "X-Credential", "X-Session", "Bearer", "X-Amz-Signature")
        ),
        ({"X-Password": SECRET}, "header X-Password may hold a secret"),
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
        "User-Agent": "blue", "ACCEPT": "*/*",
    }  # fmt: skip
    (model,) = parse_spec(_spec(headers=headers), "spec.yaml").models
    assert model.headers == headers


@pytest.mark.parametrize("user", [f"bob:{SECRET}", SECRET])
def test_addresses(user: str, refusal: Any) -> None:
    assert refusal(
        InputError,
        lambda: parse_spec(_spec(uri=f"oip:https://{user}@h/v2/models/tox?x"), "spec.yaml"),
    ) == (
        "spec.yaml: models[0].uri: the address holds a user name or a password, and addresses are "
        "copied into every run: say headers: {Authorization: env:NAME} instead"
    )


def test_an_at_sign_elsewhere_is_no_password() -> None:
    for uri in ("oip:http://h/v2/models/tox@2", "torch:models@home.py:cnn"):
        assert parse_spec(_spec(uri=uri), "spec.yaml").models[0].uri == uri


def test_other_mistakes_still_show_what_was_given() -> None:
    with pytest.raises(InputError, match="got 'three'"):
        parse_spec(_spec(remote={"concurrency": "three"}), "spec.yaml")


@pytest.mark.parametrize(
    ("models", "told"),
    [
        ([{"replicate_of": "b"}], "models[0].replicate_of: unknown model 'b'"),
        ([{"replicate_of": "m0"}], "no replicate of itself"),
        ([{}, {"replicate_of": "m0"}, {"replicate_of": "m1"}], "say replicate_of: m0"),
        ([{"seed": 1}, {"replicate_of": "m0", "seed": 1}], "'m1' and 'm0' of recipe 'm0' have one"),
        ([{"group": "x"}, {"replicate_of": "m0"}], "models[0].group: the recipe is 'm0' already"),
        ([{"name": "a@recipe"}], "how a recipe's numbers end"),
    ],
)
def test_mistakes_of_recipes(models: list[dict[str, Any]], told: str) -> None:
    entries = [{"name": f"m{k}", "uri": "torch:m.py:f", **one} for k, one in enumerate(models)]
    with pytest.raises(InputError) as caught:
        parse_spec({"models": entries, "data": [{"name": "d", "uri": "csv:d.csv"}]}, "spec")
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_trainings_of_a_recipe_share_its_name_and_meet_the_same_data() -> None:
    entries = [
        {"name": "m0", "uri": "torch:m.py:f", "seed": 0},
        {"name": "m1", "uri": "torch:m.py:f", "replicate_of": "m0", "seed": 1},
        {"name": "n", "uri": "torch:m.py:f"},
    ]
    data = [{"name": name, "uri": f"csv:{name}.csv"} for name in "de"]
    tracks = [
        {"name": "d", "models": ["m0", "m1", "n"], "data": "d"},
        {"name": "e", "models": ["m0"], "data": "e"},
    ]
    spec = {"models": entries, "data": data[:1]}
    assert [model.group for model in parse_spec(spec, "spec").models] == ["m0", "m0", None]
    with pytest.raises(InputError, match="answer the same task: 'm1' meets d, 'm0' d and e"):
        parse_spec({**spec, "data": data, "tracks": tracks}, "spec")
