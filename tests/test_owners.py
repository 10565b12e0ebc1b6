"""Whose a text is: by the value alone, whatever its type, its neighbours, and the reader of its file."""

import bz2
import csv
import gzip
import json
import lzma
import math
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
import zstandard

from cllora.corpus import load_samples, owner_text
from cllora.corpus.template import parse_template
from cllora.corpus.values import Half, Single, value_text
from cllora.errors import UsageError
from cllora.partition import make_partition, pool_of
from cllora.spec import DataSpec, PartitionSpec
from support.corpus import ByteTokenizer
from support.owners import inspected_owners, natural_owners

ID = 2**60 + 1
"""Eight ids from here on are one as floating-point numbers."""


def rows_of(owners: Sequence[Any]) -> list[dict[str, Any]]:
    return [{"text": f"text number {place}", "owner": owner} for place, owner in enumerate(owners)]


def json_lines(rows: Sequence[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, default=str) + "\n" for row in rows).encode()


def delimited(rows: Sequence[dict[str, Any]], delimiter: str) -> str:
    import io

    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def write_array(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text(json.dumps(rows, default=str, indent=2))


def write_arrow_stream(file: Path, rows: list[dict[str, Any]]) -> None:
    table = pa.Table.from_pylist(rows)
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


WRITERS: dict[str, Callable[[Path, list[dict[str, Any]]], Any]] = {
    "a.jsonl": lambda file, rows: file.write_bytes(json_lines(rows)),
    "a.ndjson": lambda file, rows: file.write_bytes(json_lines(rows).replace(b"\n", b"\r\n")),
    "array.json": write_array,
    "lines.json": lambda file, rows: file.write_bytes(json_lines(rows)),
    "a.jsonl.gz": lambda file, rows: file.write_bytes(gzip.compress(json_lines(rows))),
    "a.jsonl.zst": lambda file, rows: file.write_bytes(
        b"".join(zstandard.compress(json_lines(part)) for part in (rows[:3], rows[3:]))
    ),
    "a.jsonl.bz2": lambda file, rows: file.write_bytes(bz2.compress(json_lines(rows))),
    "a.jsonl.xz": lambda file, rows: file.write_bytes(lzma.compress(json_lines(rows))),
    "comma.csv": lambda file, rows: file.write_text(delimited(rows, ",")),
    "semicolon.csv": lambda file, rows: file.write_text(delimited(rows, ";")),
    "utf16.csv": lambda file, rows: file.write_text(delimited(rows, ";"), encoding="utf-16"),
    "mac.csv": lambda file, rows: file.write_bytes(delimited(rows, ",").replace("\r\n", "\r").encode()),
    "a.tsv": lambda file, rows: file.write_text(delimited(rows, "\t")),
    "a.parquet": lambda file, rows: pq.write_table(pa.Table.from_pylist(rows), file),
    "a.arrow": write_arrow_stream,
    "a.feather": lambda file, rows: pyarrow.feather.write_feather(pa.Table.from_pylist(rows), str(file)),
    "saved": lambda file, rows: datasets.Dataset.from_list(rows).save_to_disk(str(file)),
}

KINDS_OF_OWNERS: dict[str, list[Any]] = {
    "ids beside none": [ID, ID + 1, None, ID + 2, ID, ID + 3],
    "names": ["ann", " ann ", "bob", "", None, "caf\u00e9", "cafe\u0301"],
    "whole fractions": [1.0, 2.0, 2.0, None, 2.5],
    "truth": [True, False, True],
    "days": [date(2024, 5, 1), date(2024, 5, 2), None],
    "moments": [datetime(2024, 5, 1, 12, 30), datetime(2024, 5, 1, 12, 31), None],
    "decimals": [Decimal("1.25"), Decimal("1.50"), Decimal("1.25"), None],
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("owners", ["ids beside none", "names", "whole fractions"])
def test_owners_do_not_depend_on_the_reader(kind: str, owners: str, tmp_path: Path) -> None:
    file = tmp_path / kind
    values = KINDS_OF_OWNERS[owners]
    WRITERS[kind](file, rows_of(values))
    wanted = Counter(name for name in (owner_text(value, "owner") for value in values) if name)
    assert natural_owners(file, tmp_path) == wanted
    assert inspected_owners(file) == wanted


@pytest.mark.parametrize("kind", ["a.jsonl", "comma.csv", "a.parquet", "saved"])
@pytest.mark.parametrize("owners", ["truth", "days", "moments", "decimals"])
def test_owners_of_any_type(kind: str, owners: str, tmp_path: Path) -> None:
    file = tmp_path / kind
    values = KINDS_OF_OWNERS[owners]
    WRITERS[kind](file, rows_of(values))
    wanted = Counter(str(value) for value in values if value is not None)
    assert natural_owners(file, tmp_path) == inspected_owners(file) == wanted


def test_eight_ids_beside_a_nan_are_eight(tmp_path: Path) -> None:
    """The example of issue 11: in 0.1.0 they were two."""
    file = tmp_path / "a.jsonl"
    owners = [ID + place % 8 for place in range(80)] + [math.nan, 1.5]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows_of(owners)))
    wanted = Counter({str(ID + place): 10 for place in range(8)} | {"1.5": 1})
    assert natural_owners(file, tmp_path) == inspected_owners(file) == wanted


NEIGHBOURS: list[Any] = [None, math.nan, 1.5, "a name", True, 2**70, ID, 7, {"a": None}]


@pytest.mark.parametrize("batch", [1, 2, 100])
def test_owners_do_not_depend_on_their_neighbours(batch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cllora.corpus.encode.BATCH_ROWS", batch)
    for place, neighbour in enumerate(NEIGHBOURS[:-1]):
        file = tmp_path / f"{place}.jsonl"
        owners = [ID, ID + 2, neighbour, ID, 3, 3.0, "3", "03", True, "x"]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows_of(owners)))
        wanted = {str(ID): 2, str(ID + 2): 1, "3": 3, "03": 1, "True": 1, "x": 1}
        found = natural_owners(file, tmp_path)
        name = owner_text(neighbour, "owner")
        assert found == inspected_owners(file) == Counter(wanted) + Counter([name] if name else [])


def test_several_files_of_several_types(tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.jsonl", "b.csv", "c.parquet", "d.parquet")]
    WRITERS["a.jsonl"](files[0], rows_of([ID, 5, "ann"]))
    WRITERS["comma.csv"](files[1], rows_of([ID, 5, "ann"]))
    WRITERS["a.parquet"](files[2], rows_of([ID, 5, None]))
    pd.DataFrame({"text": ["one more", "two more"], "owner": [5, None]}).to_parquet(files[3])  # pandas: 5.0 and NaN
    wanted = Counter({str(ID): 3, "5": 4, "ann": 2})
    assert natural_owners(files, tmp_path) == inspected_owners(files) == wanted


def test_what_pandas_writes_of_ids_beside_a_missing_one(tmp_path: Path) -> None:
    table = pd.DataFrame({"text": ["a b", "c d", "e f"], "owner": [12345, 12346, None]})
    table.to_parquet(tmp_path / "a.parquet")
    table.to_csv(tmp_path / "a.csv", index=False)
    table.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    table.to_json(tmp_path / "a.json", orient="records")
    table.to_json(tmp_path / "b.json")
    for name in ("a.parquet", "a.csv", "a.jsonl", "a.json", "b.json"):
        assert natural_owners(tmp_path / name, tmp_path) == Counter({"12345": 1, "12346": 1}), name
        assert inspected_owners(tmp_path / name) == Counter({"12345": 1, "12346": 1}), name


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.jsonl"])
def test_ids_that_were_rounded_before_are_refused(name: str, tmp_path: Path) -> None:
    table = pd.DataFrame({"text": ["a b", "c d", "e f"], "owner": [ID, ID + 1, None]})
    file = tmp_path / name
    if name.endswith("jsonl"):
        file.write_text("".join(json.dumps(row) + "\n" for row in table.to_dict("records")))
    else:
        (table.to_parquet if name.endswith("parquet") else table.to_csv)(file)
    for look in (lambda: natural_owners(file, tmp_path, clients=2), lambda: inspected_owners(file)):
        with pytest.raises(UsageError, match=r"column 'owner' has the floating-point number 1\.15\d+e\+18.*2\^53"):
            look()


def test_binary_ids_and_categories(tmp_path: Path) -> None:
    one, two = uuid.UUID(int=1), uuid.uuid4()
    texts = ["a b", "c d", "e f", "g h"]
    columns = {
        "uuid": pa.array([one.bytes, two.bytes, one.bytes, None], pa.uuid()),
        "bytes16": pa.array([one.bytes, two.bytes, one.bytes, None], pa.binary(16)),
        "dictionary": pa.array([one.bytes, two.bytes, one.bytes, None], pa.binary(16)).dictionary_encode(),
        "text": pa.array([str(one), str(two), str(one), None]),
        "category": pa.array([str(one), str(two), str(one), None]).dictionary_encode(),
    }
    for name, column in columns.items():
        file = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table({"text": texts, "owner": column}), file)
        assert natural_owners(file, tmp_path) == inspected_owners(file) == Counter({str(one): 2, str(two): 1}), name
    large = pa.array([2**64 - 1, 2**64 - 2, 2**64 - 1, None], pa.uint64())
    pq.write_table(pa.table({"text": texts, "owner": large}), file)
    wanted = Counter({str(2**64 - 1): 2, str(2**64 - 2): 1})
    assert natural_owners(file, tmp_path) == inspected_owners(file) == wanted
    raw = [b"\xab", b"ab", b"ab ", b"0xab"]
    file = tmp_path / "raw.parquet"
    pq.write_table(pa.table({"text": texts, "owner": pa.array(raw, pa.binary())}), file)
    assert len(natural_owners(file, tmp_path)) == len(inspected_owners(file)) == 4


def test_contexts_by_name_mean_the_same_owners() -> None:
    from cllora.partition.contexts import contexts_of_clients

    assert contexts_of_clients({"7.0": 32, " e\u0301": 16}, 3, ["7", "\u00e9", "x"], 64) == (32, 16, 64)
    with pytest.raises(UsageError, match="'7' is given twice"):
        contexts_of_clients({"7.0": 32, "7": 16}, 1, ["7"], 64)


class Kind(Enum):
    ONE = "one"


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (1, "1"), (1.0, "1"), ("1", "1"), ("1.0", "1"), ("1.00", "1"), (np.int64(1), "1"), (np.float32(1), "1"),
        (Decimal("1.00"), "1"),
        (True, "True"), (np.bool_(True), "True"), ("01", "01"), ("1.10", "1.10"), (1.1, "1.1"),
        (Decimal("1.10"), "1.10"), (Decimal(f"{2**70}.00"), str(2**70)), ("-0.0", "0"),
        (-0.0, "0"), (2**53 - 1.0, str(2**53 - 1)), (2**200, str(2**200)), ("1e20", "1e20"), ("9e999", "9e999"),
        (None, ""), (math.nan, ""), (Decimal("NaN"), ""), (pd.NA, ""), (pd.NaT, ""), ("", ""), (" \t\u00a0", ""),
        ("nan", "nan"), ("null", "null"), ("None", "None"), (" Ann  Lee\n", "Ann  Lee"), ("e\u0301", "\u00e9"),
        ("\u212b", "\u00c5"), ("\uff21", "\uff21"), (Kind.ONE, "one"), (b"ann", "ann"), (np.str_("x"), "x"),
        (datetime(2024, 5, 1, tzinfo=UTC), "2024-05-01 00:00:00+00:00"), (np.datetime64("2024-05-01"), "2024-05-01"),
        (pd.Timestamp("2024-05-01 12:00"), "2024-05-01 12:00:00"), (Decimal("1E+3"), "1000"),
        (Decimal("1." + "1" * 40), "1." + "1" * 40),
        (f"{2**70 + 1}.00", str(2**70 + 1)), ("1e+05", "100000"), ("1.5e+00", "1.5e+00"), ("0.00e+00", "0"),
        ("1.2345670e+06", "1234567"), ("1.0E7", "10000000"), ("1.2345678E7", "12345678"), ("12E10", "12E10"),
        (datetime(2024, 5, 1), "2024-05-01"), ("2024-05-01 00:00:00", "2024-05-01"),
        ("2024-05-01T00:00:00.000", "2024-05-01"), ("2024-05-01T12:30:00.500", "2024-05-01 12:30:00.5"),
        (datetime(2024, 5, 1, 12, 30, 0, 500000), "2024-05-01 12:30:00.5"), ("2024-05-01 12:30", "2024-05-01 12:30:00"),
        ("2024-05-01T00:00:00Z", "2024-05-01 00:00:00+00:00"), (np.datetime64("2024-05-01", "ns"), "2024-05-01"),
        ("true", "True"), ("TRUE", "True"), ("false", "False"), ("tRue", "tRue"), (b"", ""), (b" ", ""),
        ("e\u0301".encode(), "\u00e9"), (str(uuid.UUID(int=255)).upper(), str(uuid.UUID(int=255))),
        (Single(np.float32(0.1)), "0.1"), (Half(np.float16(0.1)), "0.1"), (0.1, "0.1"), (Single(2.5), "2.5"),
        (timedelta(seconds=1), "0:00:01"), (pd.Timedelta(seconds=1), "0:00:01"), (np.timedelta64(1, "s"), "0:00:01"),
        (pd.Timedelta(days=1, nanoseconds=7), "1 day, 0:00:00.000000007"),
        (np.timedelta64(1500, "ms"), "0:00:01.500000"),
        (f"{{{uuid.UUID(int=255)}}}", str(uuid.UUID(int=255))), (uuid.UUID(int=255).hex, uuid.UUID(int=255).hex),
    ],
)  # fmt: skip
def test_the_owner_that_a_value_names(value: Any, name: str) -> None:
    assert owner_text(value, "owner") == name
    if name:  # what is stored as text names the same
        assert owner_text(value_text(value), "owner") == name
        assert owner_text(name, "owner") == name


@pytest.mark.parametrize(
    "value",
    ["1.23457E+17", "1.23457E+11", "1.23E+05", "1.23457e+06", "1e+06", f"{2**70}.00", "1234567890123456768.0", 1e300,
     "1.152921504606847E18", "1e+999", 2.0**53, Single(2.0**24), Single(-(2.0**30)), Half(2048.0)],
)  # fmt: skip
def test_numbers_that_were_rounded_are_no_owners(value: Any) -> None:
    with pytest.raises(UsageError, match="column 'owner' has the floating-point number"):
        owner_text(value, "owner")


@pytest.mark.parametrize("value", [["ann"], {"a": 1}, b"x" * 1000, ("ann",)])
def test_what_is_no_single_value_is_no_owner(value: Any) -> None:
    with pytest.raises(UsageError, match="column 'owner' holds"):
        owner_text(value, "owner")


@pytest.mark.parametrize("kind", ["a.jsonl", "array.json", "a.parquet", "saved"])
def test_owners_in_fields_within_fields(kind: str, tmp_path: Path) -> None:
    rows = [
        {"text": f"text {i}", "meta": {"owner": ID + i % 2, "in": {"day": date(2024, 5, 1 + i % 3)}}, "a.b": f"{i % 2}"}
        for i in range(6)
    ]
    rows = [{**row, "a": {"b": "not this"}} for row in rows]
    WRITERS[kind](tmp_path / kind, rows)
    wanted = {"meta.owner": {str(ID): 3, str(ID + 1): 3}, "a.b": {"0": 3, "1": 3}}
    wanted["meta.in.day"] = {f"2024-05-0{day}": 2 for day in (1, 2, 3)}
    for column, owners in wanted.items():
        assert natural_owners(tmp_path / kind, tmp_path, column) == Counter(owners)
        assert inspected_owners(tmp_path / kind, column) == Counter(owners)


def test_lists_are_no_owners_and_names_as_fields_no_columns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "a.jsonl"
    rows = [{"text": f"text {i}", "who": ["ann"], "votes": {f"u{j}": 1 for j in range(i, i + 200)}} for i in range(600)]
    file.write_bytes(json_lines(rows))
    samples = load_samples(DataSpec(path=str(file)), ByteTokenizer(), cache=tmp_path / "cache")
    assert not samples.columns
    assert "column 'votes' has more than 256 different fields" in caplog.text
    with pytest.raises(UsageError, match="column 'who' holds a list"):
        inspected_owners(file, "who")


def test_a_template_writes_the_exact_id(tmp_path: Path) -> None:
    for kind in ("a.jsonl", "a.parquet", "comma.csv"):
        WRITERS[kind](tmp_path / kind, rows_of([ID, ID + 1, ID]))
        data = DataSpec(path=str(tmp_path / kind), text="{owner}: {text}")
        samples = load_samples(data, ByteTokenizer(), cache=tmp_path / "cache")
        assert samples.texts[1] == f"{ID + 1}: text number 1"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (date(2024, 5, 1), "2024-05-01"), (datetime(2024, 5, 1, 12), "2024-05-01 12:00:00"), (Decimal("1.10"), "1.10"),
        (Decimal("2.00"), "2"), (uuid.UUID(int=255), str(uuid.UUID(int=255))), (b"ann", "ann"), (True, "True"),
        (1.0, "1.0"), (1.5, "1.5"), (7, "7"), (np.float32(1.5), "1.5"), (None, ""), (float("nan"), ""),
        (Decimal("NaN"), ""), (np.datetime64("NaT"), ""),
    ],
)  # fmt: skip
def test_a_template_writes_whatever_is_one_value(value: Any, written: str) -> None:
    assert parse_template("{v}: {text}", "data.text").render({"v": value, "text": "ab"}) == f"{written}: ab"


@pytest.mark.parametrize("value", [["ann"], {"a": 1}, b"x" * 1000])
def test_a_template_writes_nothing_else(value: Any) -> None:
    reason = parse_template("{v}: {text}", "data.text").render({"v": value, "text": "ab"})
    assert reason == "not text (column 'v')"


def test_dates_and_decimals_of_a_file_are_no_reason_to_drop_a_row(tmp_path: Path) -> None:
    owners = [date(2024, 5, 1), date(2024, 5, 2), None]
    WRITERS["a.parquet"](tmp_path / "a.parquet", rows_of(owners))
    data = DataSpec(path=str(tmp_path / "a.parquet"), text="{owner}: {text}")
    samples = load_samples(data, ByteTokenizer(), cache=tmp_path / "cache")
    assert not samples.dropped
    assert [text.partition(": ")[0] for text in samples.texts] == ["2024-05-01", "2024-05-02", ""]


def test_samples_without_an_owner_and_of_owners_that_are_no_client_are_told_apart(tmp_path: Path) -> None:
    owners = ["ann"] * 3 + ["bob"] * 3 + ["cy"] * 2 + [None] * 4
    assert unused_lines(owners, tmp_path / "a.jsonl", clients=2) == [
        "4 of 12 samples have no owner, as column 'owner' is blank there, and belong to no client",
        "2 of 12 samples belong to no client, as their owners are not among the 2 largest (partition.num_clients)",
    ]
    assert unused_lines(owners[:-3], tmp_path / "b.jsonl", clients=3) == [
        "1 of 9 samples has no owner, as column 'owner' is blank there, and belongs to no client"
    ]
    assert unused_lines(owners[:7], tmp_path / "c.jsonl", clients=2) == [
        "1 of 7 samples belongs to no client, as their owners are not among the 2 largest (partition.num_clients)"
    ]


def unused_lines(owners: Sequence[Any], file: Path, clients: int) -> list[str]:
    """What a partition says of the samples that are nobody's."""
    file.write_bytes(json_lines(rows_of(owners)))
    samples = load_samples(DataSpec(path=str(file)), ByteTokenizer(), cache=file.parent / "cache")
    spec = PartitionSpec(scheme="natural", column="owner", num_clients=clients, min_samples=1)
    ids = np.arange(len(samples))
    pool = pool_of(
        spec, ids=ids, values=ids.astype(float), lengths=samples.lengths(), context=64, columns=samples.columns
    )
    warnings = make_partition(spec, pool, ids[:0], seed=0).heterogeneity.warnings
    return [line for line in warnings if "to no client" in line]
