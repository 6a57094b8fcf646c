"""Loading user code: found before it is loaded, folders kept apart, mistakes told in a sentence."""

from __future__ import annotations

import pickle
import random
import sys
import textwrap
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crucibench.util.errors import InputError
from crucibench.util.loading import call_factory, load_factory, parse_factory


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        parts = name.replace("__init__", "\0").replace("__", "/").replace("\0", "__init__")
        path = folder / f"{parts}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return folder


def load(base: Path, rest: str) -> Callable[..., Any]:
    return load_factory(parse_factory(rest, base))


def names(base: Path, rest: str) -> list[str]:
    ref = parse_factory(rest, base)
    return [file.relative_to(ref.root).as_posix() for file in ref.files]


# Finding.


def test_a_missing_file_offers_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, models="def cnn(): ...")
    with pytest.raises(InputError) as caught:
        parse_factory("model.py:cnn", tmp_path)
    folder = str(tmp_path.resolve())
    assert str(caught.value) == (
        f"file 'model.py' does not exist in {folder!r}; did you mean 'models.py'?"
    )


def test_a_missing_folder_is_named(tmp_path: Path, refusal: Any) -> None:
    assert refusal(InputError, lambda: parse_factory("nets/model.py:cnn", tmp_path)) == (
        "file 'nets/model.py' does not exist: there is no folder "
        f"{str((tmp_path / 'nets').resolve())!r}"
    )


@pytest.mark.parametrize("rest", ["models.py", "models.py:"])
def test_without_a_name_the_functions_are_listed(tmp_path: Path, rest: str, refusal: Any) -> None:
    write(tmp_path, models="def cnn(): ...\nclass Net: ...\ndef _private(): ...\nX = 1")
    assert refusal(InputError, lambda: parse_factory(rest, tmp_path)) == (
        f"{rest!r}: expected models.py:NAME (models.py defines: cnn, Net)"
    )


def test_a_misspelt_name_offers_the_nearest(tmp_path: Path, refusal: Any) -> None:
    write(tmp_path, models="def cnn(): ...\ndef mlp(): ...")
    assert refusal(InputError, lambda: parse_factory("models.py:cmn", tmp_path)) == (
        "unknown function of models.py 'cmn'; did you mean 'cnn'? (known: cnn, mlp)"
    )


@pytest.mark.parametrize(
    "text",
    [
        "from nets import cnn",
        "from nets import *",
        "import nets as cnn",
        "cnn = lambda: 1",
        "if True:\n    def cnn(): ...",
        "try:\n    from a import cnn\nexcept ImportError:\n    cnn = None",
        "def __getattr__(name): return print",
    ],
)
def test_a_name_bound_in_any_way_is_found(tmp_path: Path, text: str) -> None:
    write(tmp_path, models=text)
    assert parse_factory("models.py:cnn", tmp_path).name == "cnn"


def test_what_is_no_python_is_told_with_its_line(tmp_path: Path) -> None:
    write(tmp_path, models="x = 1\ndef cnn(:\n    pass\n")
    with pytest.raises(InputError) as caught:
        parse_factory("models.py:cnn", tmp_path)
    assert str(caught.value) == "models.py can't be read as Python: line 2: invalid syntax"
    assert "def cnn(:" in caught.value.detail


@pytest.mark.parametrize("rest", ["", "cnn", "a/b:cnn", "models.txt.x y:cnn"])
def test_other_spellings_are_refused(tmp_path: Path, rest: str) -> None:
    with pytest.raises(InputError, match=r"expected FILE.py:NAME or PKG.MOD:NAME"):
        parse_factory(rest, tmp_path)


def test_a_module_is_looked_for_below_the_folder_and_then_among_the_installed(
    tmp_path: Path,
    refusal: Any,
) -> None:
    write(tmp_path, nets__small="def cnn(): return 'mine'")
    assert load(tmp_path, "nets.small:cnn")() == "mine"
    assert load(tmp_path, "json.decoder:JSONDecoder") is __import__("json").JSONDecoder
    assert refusal(InputError, lambda: parse_factory("no_such_package.nets:cnn", tmp_path)) == (
        "'no_such_package.nets:cnn': module 'no_such_package' is neither installed nor below "
        f"{str(tmp_path.resolve())!r}"
    )


def test_an_installed_module_is_found_without_importing_it(tmp_path: Path) -> None:
    before = set(sys.modules)
    ref = parse_factory("skops.card._parser:parse_modelcard", tmp_path)
    assert "skops.card._parser" not in set(sys.modules) - before
    assert ref.installed
    assert [file.name for file in ref.files] == ["_parser.py"]
    assert ref.facts == {"skops": version("skops")}


def test_a_package_that_is_installed_in_place_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        tmp_path / "project",
        editable____init__="",
        editable__nets="from editable import layers\nimport json, outside\ndef cnn(): ...",
        editable__layers="",
        outside="",
    )
    monkeypatch.syspath_prepend(str(tmp_path / "project"))
    assert names(tmp_path, "editable.nets:cnn") == [
        "editable/__init__.py",
        "editable/layers.py",
        "editable/nets.py",
    ]
    assert parse_factory("editable.nets:cnn", tmp_path).facts == {}


# Which files matter.


def test_imported_project_files_are_found_without_loading(tmp_path: Path) -> None:
    write(
        tmp_path,
        models="""
            import os, layers.conv
            from . import heads
            from blocks import deep
            def cnn():
                import later
            raise SystemExit
        """,
        layers____init__="",
        layers__conv="from .base import Base\nfrom ..common import x",
        layers__base="class Base: ...",
        common="import models",
        heads="",
        blocks__deep="import numpy",
        later="",
        unused="",
        os="",
    )
    assert names(tmp_path, "models.py:cnn") == [
        "blocks/deep.py",
        "common.py",
        "heads.py",
        "later.py",
        "layers/__init__.py",
        "layers/base.py",
        "layers/conv.py",
        "models.py",
        "os.py",
    ]


def test_the_digest_follows_the_imported_files_and_no_others(tmp_path: Path) -> None:
    write(tmp_path, models="import utils\ndef cnn(): ...", utils="X = 1", other="")
    ref = parse_factory("models.py:cnn", tmp_path)
    before = ref.digest()
    write(tmp_path, other="X = 2")
    assert ref.digest() == before
    write(tmp_path, utils="X = 2")
    assert ref.digest() != before


def test_the_digest_is_of_contents_not_of_the_place(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write(tmp_path / folder, models="import utils\ndef cnn(): ...", utils="X = 1")
    a, b = (parse_factory(f"{folder}/models.py:cnn", tmp_path) for folder in ("a", "b"))
    assert a.digest() == b.digest()


# Loading.


def test_two_folders_never_share_a_module(tmp_path: Path) -> None:
    text = """
        import utils
        import pkg.deep
        def now(): return utils.NAME, pkg.deep.NAME
        def later():
            import late, utils
            from pkg import other
            return late.NAME, utils.NAME, other.NAME
    """
    for folder in ("a", "b"):
        write(
            tmp_path / folder,
            models=text,
            utils=f"NAME = '{folder}'",
            late="import utils\nNAME = 'late ' + utils.NAME",
            pkg____init__="",
            pkg__deep=f"NAME = 'deep {folder}'",
            pkg__other="def get():\n    import utils\n    return utils.NAME\nNAME = get()",
        )
    loaded = {
        (folder, name): load(tmp_path, f"{folder}/models.py:{name}")
        for folder in ("a", "b")
        for name in ("now", "later")
    }
    for folder in ("a", "b"):
        assert loaded[folder, "now"]() == (folder, f"deep {folder}")
        assert loaded[folder, "later"]() == (f"late {folder}", folder, folder)
    assert not {"utils", "late", "pkg", "models"} & set(sys.modules)


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    write(tmp_path, models="import utils\ndef cnn(): return utils.X", utils="X = 1")
    path = list(sys.path)
    assert load(tmp_path, "models.py:cnn")() == 1
    assert sys.path == path
    assert not list(tmp_path.rglob("__pycache__"))


def test_an_edited_file_is_loaded_anew(tmp_path: Path) -> None:
    write(tmp_path, models="import utils\ndef cnn(): return utils.X", utils="X = 1")
    assert load(tmp_path, "models.py:cnn")() == 1
    write(tmp_path, utils="X = 2")  # the same length, most likely the same time stamp
    assert load(tmp_path, "models.py:cnn")() == 2
    write(tmp_path, utils="from new import X", new="X = 3")
    assert load(tmp_path, "models.py:cnn")() == 3


def test_functions_of_one_file_share_its_module(tmp_path: Path) -> None:
    write(tmp_path, models="class Net: ...\ndef a(): return Net\ndef b(): return Net")
    assert load(tmp_path, "models.py:a")() is load(tmp_path, "models.py:b")()


def test_dataclasses_pickling_and_type_hints_work(tmp_path: Path) -> None:
    write(
        tmp_path,
        models="""
            from __future__ import annotations
            import typing
            from dataclasses import dataclass, field
            from . import utils
            from .utils import Inner
            @dataclass
            class Net:
                inner: Inner = field(default_factory=Inner)
            def hints(): return typing.get_type_hints(Net)
        """,
        utils="""
            from dataclasses import dataclass
            @dataclass
            class Inner:
                x: int = 3
        """,
    )
    net = load(tmp_path, "models.py:Net")()
    assert pickle.loads(pickle.dumps(net)) == net
    assert load(tmp_path, "models.py:hints")()["inner"] is type(net.inner)


def test_a_file_inside_a_package_imports_as_a_script_and_as_a_module(tmp_path: Path) -> None:
    write(
        tmp_path / "project",
        pkg____init__="ROOT = 'root'",
        pkg__common="NAME = 'common'",
        pkg__nets____init__="",
        pkg__nets__layers="NAME = 'layers'",
        pkg__nets__models="""
            import layers
            import pkg
            from pkg.common import NAME
            from ..common import NAME as again
            from . import layers as relative
            def cnn(): return layers.NAME, NAME, again, pkg.ROOT, relative is layers
        """,
    )
    rest = "project/pkg/nets/models.py:cnn"
    assert load(tmp_path, rest)() == ("layers", "common", "common", "root", True)
    assert names(tmp_path, rest) == [
        "pkg/__init__.py",
        "pkg/common.py",
        "pkg/nets/__init__.py",
        "pkg/nets/layers.py",
        "pkg/nets/models.py",
    ]


def test_folders_yield_to_installed_modules_and_files_do_not(tmp_path: Path) -> None:
    write(
        tmp_path,
        models="""
            import json, colorsys, sys
            def cnn(): return json.dumps({}), colorsys.X, sys.version
        """,
        json__data="",
        colorsys="X = 'mine'",
        sys="version = 'hidden'",
    )
    assert load(tmp_path, "models.py:cnn")() == ("{}", "mine", sys.version)


def test_odd_file_names_load(tmp_path: Path) -> None:
    (tmp_path / "my-model.v1.py").write_text("def cnn(): return 1")
    assert load(tmp_path, "my-model.v1.py:cnn")() == 1


def test_a_folder_of_the_same_name_does_not_hide_the_file(tmp_path: Path) -> None:
    write(tmp_path, models="def cnn(): return 'file'", models____init__="")
    assert load(tmp_path, "models.py:cnn")() == "file"


# Mistakes.


def test_what_raises_on_import_is_told_with_its_own_traceback(tmp_path: Path) -> None:
    write(tmp_path, models="import utils\ndef cnn(): ...", utils="def f():\n    1 / 0\nf()")
    with pytest.raises(InputError) as caught:
        load(tmp_path, "models.py:cnn")
    assert str(caught.value) == ("importing models.py raised ZeroDivisionError: division by zero")
    frames = [line for line in caught.value.detail.splitlines() if line.startswith("  File")]
    assert [Path(frame.split('"')[1]).name for frame in frames] == [
        "models.py",
        "utils.py",
        "utils.py",
    ]
    assert "_crucibench_user_" not in caught.value.detail


@pytest.mark.parametrize(
    ("utils", "told"),
    [
        ("import no_such_thing", "ModuleNotFoundError: No module named 'no_such_thing'"),
        (
            "import utils.deep",
            "ModuleNotFoundError: No module named 'utils.deep'; 'utils' is not a",
        ),
        ("from models import nothing", "ImportError: cannot import name 'nothing' from"),
        ("x = (", "SyntaxError: '(' was never closed (utils.py, line 1)"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("raise ValueError", "ValueError"),
    ],
)
def test_failing_imports_are_told(tmp_path: Path, utils: str, told: str) -> None:
    write(tmp_path, models="import utils\ndef cnn(): ...", utils=utils)
    with pytest.raises(InputError) as caught:
        load(tmp_path, "models.py:cnn")
    assert str(caught.value).startswith(f"importing models.py raised {told}")
    assert "_crucibench_user_" not in str(caught.value)
    write(tmp_path, utils="")
    assert load(tmp_path, "models.py:cnn")() is None  # mended in the same process


def test_what_can_not_be_called_is_refused(tmp_path: Path, refusal: Any) -> None:
    write(tmp_path, models="cnn = 3\nfrom os.path import *")
    assert (
        refusal(InputError, lambda: load(tmp_path, "models.py:cnn"))
        == "models.py:cnn: expected a function or a class, got int 'cnn'"
    )
    with pytest.raises(
        InputError, match=r"unknown function of models.py 'joint'; did you mean 'join'"
    ):
        load(tmp_path, "models.py:joint")


def test_a_factory_that_raises_is_told_with_its_own_traceback(tmp_path: Path) -> None:
    write(tmp_path, models="def cnn():\n    return helper()\ndef helper():\n    return 1 / 0")
    with pytest.raises(InputError) as caught:
        call_factory(load(tmp_path, "models.py:cnn"), "models.py:cnn")
    assert str(caught.value) == "models.py:cnn raised ZeroDivisionError: division by zero"
    detail = caught.value.detail.splitlines()
    assert detail[0] == "Traceback (most recent call last):"
    assert [line.split(", ")[1:] for line in detail if line.startswith("  File")] == [
        ["line 2", "in cnn"],
        ["line 4", "in helper"],
    ]
    assert detail[-1] == "ZeroDivisionError: division by zero"


def test_our_own_errors_pass_as_they_are() -> None:
    def factory() -> None:
        raise InputError("one sentence")

    with pytest.raises(InputError, match=r"^one sentence$"):
        call_factory(factory, "models.py:cnn")


def test_a_factory_draws_the_same_each_time_and_leaves_the_random_state() -> None:
    def factory() -> tuple[float, float]:
        return random.random(), np.random.random()

    random.seed(5)
    np.random.seed(5)
    first = call_factory(factory, "f")
    drawn = random.random(), np.random.random()
    assert call_factory(factory, "f") == first
    random.seed(5)
    np.random.seed(5)
    assert (random.random(), np.random.random()) == drawn
