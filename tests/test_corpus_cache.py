"""The cache: hit or missed for the right reasons, whole or absent, and mapped rather than read."""

import errno
import multiprocessing
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from cllora.corpus import load_samples
from cllora.errors import UsageError
from cllora.spec import DataSpec
from support.corpus import BOS, ByteTokenizer, jsonl
from support.fixtures import needs_fork

ROWS = [{"text": f"text {i}", "label": i} for i in range(10)]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def path(tmp_path: Path) -> str:
    return jsonl(tmp_path / "a.jsonl", *ROWS)


def test_the_second_time_nothing_is_tokenised(path: str, cache: Path) -> None:
    tokenizer = ByteTokenizer()
    first = load_samples(DataSpec(path=path), tokenizer, cache=cache)
    calls = tokenizer.calls
    again = load_samples(DataSpec(path=path), tokenizer, cache=cache)
    assert tokenizer.calls == calls
    assert again.fingerprint == first.fingerprint
    assert again.tokens.tolist() == first.tokens.tolist()
    assert list(again.columns["label"]) == list(range(10))
    assert again.dropped == first.dropped == {}


def test_what_matters_misses_and_what_does_not_hits(path: str, cache: Path, tmp_path: Path) -> None:
    def folders(**changes: object) -> int:
        load_samples(DataSpec(**{"path": path, **changes}), ByteTokenizer(), cache=cache)
        return len(list(cache.iterdir()))

    assert folders() == 1
    assert folders(test=0.3) == 1
    assert folders(limit=5) == 2
    assert folders(text="{text}!") == 3
    assert folders(path=jsonl(tmp_path / "same.jsonl", *ROWS)) == 3
    assert folders(path=jsonl(tmp_path / "other.jsonl", *ROWS[1:])) == 4
    assert folders(test=jsonl(tmp_path / "test.jsonl", ROWS[0])) == 5
    other = ByteTokenizer()
    other.fingerprint = "other bytes"
    load_samples(DataSpec(path=path), other, cache=cache)
    assert len(list(cache.iterdir())) == 6


def test_the_fingerprint_follows_from_the_content_alone(path: str, tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_text("\n".join(row["text"] for row in ROWS))  # type: ignore[misc]
    prints = [
        load_samples(DataSpec(path=source), ByteTokenizer(), cache=tmp_path / folder).fingerprint
        for source, folder in ((path, "one"), (path, "two"), (str(text), "one"))
    ]
    assert len(set(prints)) == 1
    less = load_samples(DataSpec(path=path, limit=9), ByteTokenizer(), cache=tmp_path / "one")
    assert less.fingerprint != prints[0]


def test_the_boundary_of_the_test_rows_is_part_of_the_fingerprint(tmp_path: Path, cache: Path) -> None:
    prints = set()
    for cut in (3, 4):
        train, test = jsonl(tmp_path / "a.jsonl", *ROWS[:cut]), jsonl(tmp_path / "b.jsonl", *ROWS[cut:])
        prints.add(load_samples(DataSpec(path=train, test=test), ByteTokenizer(), cache=cache).fingerprint)
    assert len(prints) == 2


def test_arrays_are_mapped_and_as_narrow_as_the_vocabulary_allows(path: str, cache: Path) -> None:
    for vocabulary, dtype in ((1 << 16, np.uint16), ((1 << 16) + 1, np.uint32)):
        samples = load_samples(DataSpec(path=path), ByteTokenizer(vocabulary), cache=cache)
        assert samples.tokens.dtype == dtype
        assert samples.offsets.dtype == np.int64
        assert samples.prompts.dtype == np.int32
        for array in (samples.tokens, samples.offsets, samples.prompts):
            assert isinstance(array, np.memmap)
            assert not array.flags.writeable
        assert samples.tokens_of(2, 99).tolist() == [BOS, *b"text 2"]


def test_texts_are_read_from_disk_as_they_are_asked_for(path: str, cache: Path) -> None:
    samples = load_samples(DataSpec(path=path), ByteTokenizer(), cache=cache)
    assert len(samples.texts) == len(samples.columns["label"]) == 10
    assert samples.texts[3] == samples.texts[-7] == "text 3"
    assert samples.texts[np.int64(3)] == "text 3"  # type: ignore[call-overload]
    assert samples.columns["label"][2:9:3] == [2, 5, 8]
    with pytest.raises(IndexError):
        samples.texts[10]


def test_a_token_that_the_type_cannot_hold_is_an_error(path: str, cache: Path) -> None:
    class Liar(ByteTokenizer):
        def encode(self, texts: object, special: bool = True) -> list[list[int]]:
            return [[70_000, 1] for _ in texts]  # type: ignore[attr-defined]

    with pytest.raises(OverflowError):
        load_samples(DataSpec(path=path), Liar(), cache=cache)
    assert not list(cache.iterdir())


def load_and_be_killed(path: str, cache: Path) -> None:
    def kill(done: int, total: int | None, what: str) -> None:
        if done > 5000:
            os.kill(os.getpid(), signal.SIGKILL)

    load_samples(DataSpec(path=path), ByteTokenizer(), cache=cache, progress=kill)


@needs_fork
def test_what_a_killed_process_left_is_ignored_and_in_time_removed(tmp_path: Path, cache: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", *[{"text": f"text {i}"} for i in range(6000)])
    killed = multiprocessing.get_context("fork").Process(target=load_and_be_killed, args=(path, cache))
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    (left,) = cache.iterdir()
    assert (left / "tokens.bin").exists()
    assert len(load_samples(DataSpec(path=path), ByteTokenizer(), cache=cache)) == 6000
    assert left.exists()  # its owner might be at work still
    old = time.time() - 2 * 24 * 3600
    for file in (*left.iterdir(), left):
        os.utime(file, (old, old))
    load_samples(DataSpec(path=path, limit=5), ByteTokenizer(), cache=cache)
    assert not left.exists()


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, cache: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", *[{"text": f"text {i}"} for i in range(6000)])
    resource = pytest.importorskip("resource", reason="only systems like Linux bound a file's size")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, hard))  # a file that may not grow fails as a full disk does
    try:
        with pytest.raises(UsageError, match=r"cannot write the cache .*; make room") as caught:
            load_samples(DataSpec(path=path), ByteTokenizer(), cache=cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EFBIG
    assert not list(cache.iterdir())


def test_a_cache_that_cannot_be_a_folder(path: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot write the cache"):
        load_samples(DataSpec(path=path), ByteTokenizer(), cache=tmp_path / "file" / "cache")


@pytest.mark.parametrize("name", ["tokens.bin", "offsets.npy", "prompts.npy", "rows.arrow", "meta.json"])
def test_damage_is_named(name: str, path: str, cache: Path) -> None:
    load_samples(DataSpec(path=path), ByteTokenizer(), cache=cache)
    (file,) = cache.glob(f"*/{name}")
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(UsageError, match=r"damaged .* delete that folder"):
        load_samples(DataSpec(path=path), ByteTokenizer(), cache=cache)


def test_several_at_once(path: str, cache: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(load_samples, DataSpec(path=path), ByteTokenizer(), cache=cache) for _ in range(16)]
        assert len({job.result().fingerprint for job in jobs}) == 1
    assert len(list(cache.iterdir())) == 1
