"""Files of texts, a tokenizer whose tokens are bytes, and how loading them ends."""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cllora.corpus import load_samples
from cllora.errors import UsageError
from cllora.spec import DataSpec
from cllora.types import Samples

BOS = 256


class ByteTokenizer:
    """One token per UTF-8 byte, after a BOS."""

    def __init__(self, vocabulary: int = 257) -> None:
        self.vocabulary = vocabulary
        self.fingerprint = "bytes"
        self.calls = 0

    def encode(self, texts: Sequence[str], special: bool = True) -> list[list[int]]:
        self.calls += 1
        return [[BOS] * special + list(text.encode()) for text in texts]


class BareTokenizer(ByteTokenizer):
    """The same without a BOS, so that one byte is one token."""

    def encode(self, texts: Sequence[str], special: bool = True) -> list[list[int]]:
        return super().encode(texts, special=False)


def load(tmp_path: Path, tokenizer: ByteTokenizer | None = None, **fields: Any) -> Samples:
    return load_samples(DataSpec(**fields), tokenizer or ByteTokenizer(), cache=tmp_path / "cache")


def jsonl(file: Path, *rows: object) -> str:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(file)


def fails(tmp_path: Path, **fields: Any) -> str:
    """The one line that loading ends with; no half cache stays behind."""
    with pytest.raises(UsageError) as caught:
        load(tmp_path, **fields)
    message = str(caught.value)
    assert "\n" not in message
    assert not list((tmp_path / "cache").glob("*"))
    return message


ROWS = [{"text": "one", "label": 1}, {"text": "zwei ü", "label": 2}]


def write_source(kind: str, folder: Path) -> str:
    """ROWS in a file of some kind."""
    file = folder / f"data.{kind}"
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
    table = "text,label\none,1\nzwei ü,2\n".encode()
    match kind:
        case "jsonl" | "json":
            file.write_bytes(b"\xef\xbb\xbf" + lines)
        case "jsonl.gz":
            file.write_bytes(gzip.compress(lines))
        case "csv":
            file.write_bytes(table)
        case "csv.gz":
            file.write_bytes(gzip.compress(table))
        case "txt":
            file.write_bytes("one\r\nzwei ü".encode())
        case "parquet":
            pq.write_table(pa.Table.from_pylist(ROWS), file)
        case "saved":
            datasets.Dataset.from_list(ROWS).save_to_disk(str(file))
    return str(file)
