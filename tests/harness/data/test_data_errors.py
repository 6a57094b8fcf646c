"""What is wrong with tables, options and specs, each in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crucibench.contracts.capability import InputSpec
from crucibench.contracts.task import Modality
from crucibench.util.doors import StorageError
from crucibench.util.errors import InputError

FILES = {
    "good.csv": "a,b,text,sex,y\n1,u,hello you,f,p\n2,v,good bye,m,q\n",
    "empty.csv": "",
    "header.csv": "a,y\n",
    "twice.csv": "a,a,y\n1,2,p\n",
    "nameless.csv": ",,y\n1,2,p\n",
    "ragged.csv": "a,y\n1,p\n2,q,9\n",
    "latin.csv": "a,y\ncaf\xe9,p\nx,q\n",
    "alone.csv": "y\np\nq\n",
    "keys.csv": "k,a,y\nr,1,p\nr,2,q\n",
    "holes.csv": "k,a,y\nr,1,p\n,2,q\n",
    "tiny.csv": "a,y\n1,p\n2,q\n3,p\n4,q\n",
}
COLUMNS = "(columns: a, b, text, sex, y)"


@pytest.fixture
def folder(tmp_path: Path) -> Any:
    for name, text in FILES.items():
        (tmp_path / name).write_bytes(text.encode("latin-1"))
    (tmp_path / "text.parquet").write_text("not Parquet")
    pq.write_table(pa.table({"a": [1], "y": ["p"]}), tmp_path / "one.parquet")
    (tmp_path / "parts").mkdir()
    pq.write_table(pa.table({"a": [1], "y": ["p"]}), tmp_path / "parts/1.parquet")
    pq.write_table(pa.table({"b": [1], "y": ["q"]}), tmp_path / "parts/2.parquet")
    (tmp_path / "types").mkdir()
    pq.write_table(pa.table({"a": [1], "y": ["p"]}), tmp_path / "types/1.parquet")
    pq.write_table(pa.table({"a": ["1"], "y": ["q"]}), tmp_path / "types/2.parquet")
    return tmp_path


BAD = {
    "csv:god.csv?target=y": "data file 'god.csv' does not exist; did you mean 'good.csv'?",
    "csv:no/good.csv?target=y": "data file 'no/good.csv': there is no folder '{base}/no'",
    "csv:parts?target=y": "data file: expected a file, got the folder 'parts'",
    "csv:good.csv": f"option target is missing: which column is it; is it 'y'? {COLUMNS}",
    "csv:good.csv?target=Y": f"option target: there is no column 'Y'; did you mean 'y'? {COLUMNS}",
    "csv:good.csv?target=y&groups=sexx": (
        f"option groups: there is no column 'sexx'; did you mean 'sex'? {COLUMNS}"
    ),
    "csv:good.csv?target=y&cluster=zzzzz": f"option cluster: there is no column 'zzzzz' {COLUMNS}",
    "csv:good.csv?target=y&id=zzzzz": f"option id: there is no column 'zzzzz' {COLUMNS}",
    "csv:good.csv?target=y&features=a,zzzzz": (
        f"option features: there is no column 'zzzzz' {COLUMNS}"
    ),
    "csv:good.csv?target=y&features=a,y": "option features: column 'y' is the target",
    "csv:good.csv?target=y&features=a,a": "csv: option features: 'a' is named twice",
    "csv:good.csv?target=y&groups=": "csv: option groups: expected column names, got none",
    "csv:good.csv?target=y&features=a&input=text": (
        "csv: options features and input exclude each other"
    ),
    "csv:good.csv?target=y&group=sex": (
        "unknown option of csv: 'group'; did you mean 'groups'? (known: citation, classes, "
        "cluster, delimiter, encoding, features, groups, id, input, licence, missing, "
        "on_bad_sample, split, target, task)"
    ),
    "csv:good.csv?target=y&split=1.5": (
        "csv: option split: expected a number between 0 and 1, the share that becomes test, "
        "got '1.5'"
    ),
    "csv:good.csv?target=y&split=half": (
        "csv: option split: expected a number between 0 and 1, the share that becomes test, "
        "got 'half'"
    ),
    "csv:good.csv?target=y&split=nan": (
        "csv: option split: expected a number between 0 and 1, the share that becomes test, "
        "got 'nan'"
    ),
    "csv:tiny.csv?target=y&split=0.01": ("option split: 0.01 of 4 samples leaves no test sample"),
    "csv:tiny.csv?target=y&split=0.99": ("option split: 0.99 of 4 samples leaves no train sample"),
    "csv:good.csv?target=y&classes=p": (
        "csv: option classes: expected at least 2 different names, got 'p'"
    ),
    "csv:good.csv?target=y&classes=p,r": "classes: target 'y' holds 'q', not among p, r",
    "csv:good.csv?target=y&task=classify": (
        "unknown task 'classify'; did you mean 'classification'? "
        "(known: classification, detection, multilabel, regression)"
    ),
    "csv:good.csv?target=y&task=regression": (
        "target 'y': expected numbers for regression, got 'p' (test row 0)"
    ),
    "csv:good.csv?target=y&delimiter=ab": (
        "csv: option delimiter: expected one character, got 'ab'"
    ),
    "csv:good.csv?target=y&encoding=utf-9": "csv: option encoding: unknown encoding 'utf-9'",
    "csv:empty.csv?target=y": "empty.csv: expected a header, got an empty file",
    "csv:header.csv?target=y": "the data has no rows",
    "csv:twice.csv?target=y": "column 'a' is there 2 times; rename one",
    "csv:nameless.csv?target=y": "2 columns have no name; name them",
    "csv:ragged.csv?target=y": (
        "1 of 2 samples of test can't be used: ragged.csv: a row has 3 values, expected 2: "
        "'2,q,9'; on_bad_sample=skip leaves such samples out"
    ),
    "csv:latin.csv?target=y": (
        "1 of 2 samples of test can't be used: latin.csv: column 'a' holds b'caf\\xe9', which is "
        "not utf-8 (say encoding=, e.g. encoding=latin-1); on_bad_sample=skip leaves such samples "
        "out"
    ),
    "csv:alone.csv?target=y": "no column is left as a feature (columns: y; target: y)",
    "csv:keys.csv?target=y&id=k": (
        "option id: 1 value names more than one sample of test in column 'k', e.g. 'r'; name "
        "what is drawn together with cluster="
    ),
    "csv:holes.csv?target=y&id=k": "option id: 1 of 2 values of column 'k' is missing in test",
    "csv:holes.csv?target=y&cluster=k": (
        "option cluster: 1 of 2 values of column 'k' is missing in test"
    ),
    "parquet:tex.parquet?target=y": (
        "data file 'tex.parquet' does not exist; did you mean 'text.parquet'?"
    ),
    "parquet:none/*.parquet?target=y": ("no file is called 'none/*.parquet' (looked in '{base}')"),
    "parquet:parts?target=y": "2.parquet and 1.parquet have different columns: a, b",
    "parquet:one.parquet?target=y": (
        "target 'y': expected at least 2 classes, got only 'p'; name them with classes= if the "
        "data lacks one"
    ),
    "parquet:one.parquet?target=y&input=a": (
        "option input: expected columns of text, but 'a' holds none"
    ),
}


@pytest.mark.parametrize("uri", BAD)
def test_bad_input(folder: Path, open_uri: Any, uri: str, refusal: Any) -> None:
    assert refusal(InputError, lambda: open_uri(uri)) == BAD[uri].format(base=folder)


@pytest.mark.parametrize(
    ("uri", "start"),
    [
        ("parquet:text.parquet?target=y", "text.parquet can't be read as Parquet: "),
        ("parquet:types?target=y", "the files' types don't agree: "),
    ],
)
def test_bad_files(folder: Path, open_uri: Any, uri: str, start: str) -> None:
    with pytest.raises(InputError) as caught:
        open_uri(uri)
    assert str(caught.value).startswith(start)
    assert "\n" not in str(caught.value)


def test_a_row_longer_than_a_block(
    folder: Path, open_uri: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crucibench.data.sources.csv.BLOCK", 1 << 20)
    (folder / "long.csv").write_text("a,y\n1,p\n" + "x" * (3 << 20) + ",q\n")
    with pytest.raises(InputError, match=r"^long\.csv has a row longer than 1 MiB$"):
        open_uri("csv:long.csv?target=y")


def test_an_unwritable_cache(folder: Path, open_uri: Any) -> None:
    (folder / "cache").write_text("in the way")
    with pytest.raises(StorageError, match=r"^the cache folder '.*' can't be written to: "):
        open_uri("csv:tiny.csv?target=y")


def test_specs_that_do_not_fit(folder: Path, open_uri: Any, refusal: Any) -> None:
    table = open_uri("csv:good.csv?target=y")
    assert (
        refusal(InputError, lambda: table.batch("test", [0], InputSpec(modality=Modality.IMAGE)))
        == "the model takes image input, the data 'data' is table"
    )
    text = open_uri("csv:good.csv?target=y&input=text,b")
    assert refusal(
        InputError, lambda: text.batch("test", [0], InputSpec(modality=Modality.TEXT))
    ) == ("the model takes texts of 1 columns, the data 'data' has 2: text, b")


def test_sources_finds_missing_files_and_unknown_options_early(folder: Path, sources: Any) -> None:
    assert sources("csv:good.csv?target=y").files == (folder / "good.csv",)
    names = [path.name for path in sources("parquet:parts/*.parquet").files]
    assert names == ["1.parquet", "2.parquet"]
    for uri in ("csv:god.csv", "csv:good.csv?targt=y", "npz:x.npz", "imagefolder:x", "sklearn:x"):
        with pytest.raises(InputError):
            sources(uri)


def test_a_file_that_changes_while_it_is_read(folder: Path, open_uri: Any) -> None:
    frame = pd.DataFrame({"a": [1, 2], "y": ["p", "q"]})
    frame.to_csv(folder / "moving.csv", index=False)

    def meddle(done: Any, total: Any) -> None:
        frame.assign(a=[3, 4]).to_csv(folder / "moving.csv", index=False)

    with pytest.raises(
        InputError, match=r"^moving\.csv changed while it was being read; run again$"
    ):
        open_uri("csv:moving.csv?target=y", progress=meddle)
