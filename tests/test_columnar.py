"""Values of Parquet and Arrow that Python has no object for, or that its objects would round."""

from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from cllora.errors import UsageError
from support.corpus import fails, load
from support.owners import inspected_owners, natural_owners

TEXTS = ["a b", "c d", "e f"]


def write(kind: str, file: Path, table: pa.Table) -> Path:
    if kind == "a.parquet":
        pq.write_table(table, file / kind)
    elif kind == "a.feather":
        pyarrow.feather.write_feather(table, str(file / kind))
    else:
        datasets.Dataset(datasets.table.InMemoryTable(table)).save_to_disk(str(file / kind))
    return file / kind


FAR = "36812-02-20 00:36:16"
COLUMNS: list[tuple[str, pa.Array, list[str]]] = [
    ("times of one nanosecond", pa.array([1, 2, 1], pa.time64("ns")), ["00:00:00.000000001", "00:00:00.000000002"]),
    ("times", pa.array([10**9, 2 * 10**9, 10**9], pa.time64("ns")), ["00:00:01", "00:00:02"]),
    ("far moments", pa.array([2**40, 2**41, 2**40], pa.timestamp("s")), [FAR, "71654-04-10 01:12:32"]),
    ("long durations", pa.array([2**60, 2**61, 2**60], pa.duration("s")), [f"{2**60} seconds", f"{2**61} seconds"]),
    ("far days", pa.array([2**30, 2**30 + 1, 2**30], pa.int32()).cast(pa.date32()), ["2941775-04-07", "2941775-04-08"]),
    ("small singles", pa.array([1, 2, 1], pa.float32()), ["1", "2"]),
    ("small halves", pa.array(np.array([1, 2, 1], np.float16)), ["1", "2"]),
]  # fmt: skip


@pytest.mark.parametrize("kind", ["a.parquet", "a.feather", "saved"])
@pytest.mark.parametrize(("what", "column", "names"), COLUMNS)
def test_owners_beyond_python(kind: str, what: str, column: pa.Array, names: list[str], tmp_path: Path) -> None:
    if kind == "saved" and what == "small halves":
        pytest.skip("the same path as singles")
    file = write(kind, tmp_path, pa.table({"text": TEXTS, "owner": column}))
    wanted = {names[0]: 2, names[1]: 1}
    assert natural_owners(file, tmp_path) == wanted
    assert inspected_owners(file) == wanted


@pytest.mark.parametrize("kind", ["a.parquet", "a.feather", "saved"])
@pytest.mark.parametrize("values", [np.array([2**24, 2**24 + 1, 5], np.float32), np.array([2048, 2049, 5], np.float16)])
def test_ids_rounded_by_their_column_s_type_are_refused(kind: str, values: Any, tmp_path: Path) -> None:
    file = write(kind, tmp_path, pa.table({"text": TEXTS, "owner": pa.array(values), "in": [{"n": v} for v in TEXTS]}))
    for look in (lambda: natural_owners(file, tmp_path, clients=2), lambda: inspected_owners(file)):
        with pytest.raises(UsageError, match=r"column 'owner' has the floating-point number .* on are rounded"):
            look()
    samples = load(tmp_path, path=str(file))
    assert list(samples.columns["owner"]) == samples.columns["owner"][:] == [float(value) for value in values]


@pytest.mark.parametrize("kind", ["a.parquet", "a.feather", "saved"])
def test_bytes_that_are_no_text_drop_their_row(kind: str, tmp_path: Path) -> None:
    texts = pa.array([b"a b", b"\xff\xfe", b"e f"]).view(pa.string())
    file = write(kind, tmp_path, pa.table({"text": texts, "owner": ["x", "x", "y"]}))
    samples = load(tmp_path, path=str(file))
    assert list(samples.texts) == ["a b", "e f"]
    assert samples.dropped == {"not valid Unicode (column 'text')": 1}
    assert inspected_owners(file) == {"x": 1, "y": 1}


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    table = pa.table([TEXTS, ["1", "2", "3"], ["4", "5", "6"]], names=["text", "o", "o"])
    for kind in ("a.parquet", "a.feather"):
        assert "two columns of one name, 'o'" in fails(tmp_path / "new", path=str(write(kind, tmp_path, table)))


def test_fields_within_fields_and_none(tmp_path: Path) -> None:
    rows = [{"n": {"far": 2**40, "x": 1}}, {"n": None}, None]
    kind = pa.struct({"n": pa.struct({"far": pa.timestamp("s"), "x": pa.int64()})})
    file = write("a.feather", tmp_path, pa.table({"text": TEXTS, "in": pa.array(rows, kind)}))
    samples = load(tmp_path, path=str(file))
    assert samples.columns["in.n.x"][:] == [1, None, None]
    assert samples.columns["in.n.far"][:] == ["36812-02-20 00:36:16", None, None]
