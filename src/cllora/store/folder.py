"""The folder of one run.

    spec.json           the experiment
    partition.parquet   sample, client (-1: global test set), role (train or test), class
    partition.json      the heterogeneity that was realised
    rounds.jsonl        one object per round, appended
    losses.parquet/     the loss table, one file per round: round, model, sample, nll, tokens
    state.safetensors   the server's state and the clients' memories after the last whole round
    environment.json    versions, hardware, data fingerprint
    adapter/            the final adapter in PEFT's format
    probes/             what was measured with the model in hand, a table each (`cllora.store.probes`)
    costs.json          seconds and peak memory of local training, once the run is finished
    failed.json         why it could not be finished, until it is

A round is committed when `state.safetensors` is replaced; whatever the other files hold of later rounds is the
leaving of an interrupted process and is dropped on resuming.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from cllora.errors import UsageError, one_line
from cllora.spec import Experiment
from cllora.store.files import Object, append_line, atomic_write, read_json, write_json, write_text
from cllora.store.wire import storable
from cllora.types import (
    Arrays,
    Environment,
    Heterogeneity,
    Ids,
    Losses,
    Partition,
    Round,
    RoundRecord,
    from_plain,
    to_plain,
)

GLOBAL_TEST = -1
"""The `client` of the global test set in partition.parquet."""


FAILED = "failed.json"


def by_reason(failed: Mapping[str, str]) -> dict[str, list[str]]:
    """The runs that failed, each with its reason, as the runs of every reason."""
    names_of: dict[str, list[str]] = {}
    for name, reason in failed.items():
        names_of.setdefault(reason, []).append(name)
    return names_of


def begin(folder: Path, experiment: Experiment) -> None:
    """Make the folder for a run, or check that the one there is of the same experiment.

    Raises:
        UsageError: the folder holds another experiment.
    """
    spec = folder / "spec.json"
    if spec.exists():
        if read_experiment(folder) != experiment:
            raise UsageError(f"{folder} holds another experiment; choose another --out, or remove the folder")
        return
    folder.mkdir(parents=True, exist_ok=True)
    atomic_write(spec, lambda path: write_text(path, experiment.to_json() + "\n"))


def read_experiment(folder: Path) -> Experiment:
    """The experiment that a run folder is of.

    Raises:
        UsageError: it is no run folder; a study's names one of its runs.
    """
    if not (folder / "spec.json").exists():
        inside = sorted(path.parent for path in folder.glob("*/spec.json"))
        hint = f"; it holds runs, such as {inside[0]}" if inside else ""
        raise UsageError(f"{folder} is not the folder of a run: it has no spec.json{hint}")
    return Experiment.parse(read_json(folder / "spec.json"))


def write_partition(folder: Path, partition: Partition) -> None:
    """Write the partition as `partition.parquet`, and its heterogeneity as `partition.json`."""
    table = partition_table(partition)
    atomic_write(folder / "partition.parquet", lambda path: pq.write_table(table, path))
    write_json(folder / "partition.json", {} if partition.measured is None else to_plain(partition.measured))


def partition_table(partition: Partition) -> pa.Table:
    """The partition as a table: a row per text and owner, with sample, client (-1: the global test set), role and class
    (-1 where there are no classes)."""
    clients = np.arange(partition.num_clients)
    blocks: list[tuple[Ids, NDArray[np.int64], str]] = [
        (partition.train_ids, np.repeat(clients, np.diff(partition.train_offsets)), "train"),
        (partition.test_ids, np.repeat(clients, np.diff(partition.test_offsets)), "test"),
        (partition.global_test, np.full(len(partition.global_test), GLOBAL_TEST), "test"),
    ]
    samples = np.concatenate([ids for ids, _, _ in blocks])
    classes = np.full(len(samples), -1) if partition.class_of is None else partition.class_of[samples]
    return pa.table(
        {
            "sample": samples,
            "client": np.concatenate([owners for _, owners, _ in blocks]).astype(np.int32),
            "role": pa.array(np.repeat([role for *_, role in blocks], [len(ids) for ids, *_ in blocks])),
            "class": classes.astype(np.int32),
        }
    )


def read_partition(folder: Path) -> Partition:
    """The inverse of `write_partition`."""
    with damage(folder / "partition.parquet"):
        table = pd.read_parquet(folder / "partition.parquet")
    file = folder / "partition.json"
    written = read_json(file)
    measured = from_plain(Heterogeneity, written, file) if written else None
    owned = table[table["client"] != GLOBAL_TEST]
    clients = int(owned["client"].max()) + 1

    def part(role: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        rows = owned[owned["role"] == role]
        sizes = np.bincount(rows["client"], minlength=clients)
        return rows["sample"].to_numpy(np.int64), np.concatenate([[0], np.cumsum(sizes)])

    train_ids, train_offsets = part("train")
    test_ids, test_offsets = part("test")
    everyone = table.loc[table["client"] == GLOBAL_TEST, "sample"].to_numpy()
    class_of = np.full(int(table["sample"].max()) + 1, -1, np.int64)
    class_of[table["sample"]] = table["class"]
    contexts = None if measured is None else measured.clients.contexts
    return Partition(train_ids, train_offsets, test_ids, test_offsets, everyone, measured, class_of, contexts)


def save_round(folder: Path, after: Round) -> None:
    """Put a round on disk: its losses, its line, and last the state, which commits it."""
    losses = folder / "losses.parquet"
    losses.mkdir(exist_ok=True)
    table = _loss_table(after.number, after.losses)
    atomic_write(losses / part_name(after.number), lambda path: pq.write_table(table, path))
    append_line(folder / "rounds.jsonl", _line(after.record.to_json()))
    tensors = {f"server/{key}": storable(key, array) for key, array in after.state.items()}
    for client, memory in after.memories.items():
        tensors.update({f"memory/{client}/{key}": storable(key, array) for key, array in memory.items()})
    metadata = {"round": str(after.number)}
    atomic_write(
        folder / "state.safetensors", lambda path: safetensors.numpy.save_file(tensors, path, metadata=metadata)
    )


def last_round(folder: Path) -> Round | None:
    """The last whole round as it stands on disk; None if there is none. Changes nothing.

    Raises:
        UsageError: a file is damaged, or the rounds and losses up to it are not all there.
    """
    state_file = folder / "state.safetensors"
    if not state_file.exists():
        return None
    with damage(state_file), safetensors.safe_open(state_file, framework="numpy") as file:
        number = int(file.metadata()["round"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    rounds = [record for record in read_rounds(folder) if record["round"] <= number]
    losses = {path.name for path in (folder / "losses.parquet").glob("round-*.parquet")}
    wanted = list(range(number + 1))
    if [record["round"] for record in rounds] != wanted or not losses >= set(map(part_name, wanted)):
        raise UsageError(f"{folder} lacks rounds or losses up to round {number}; remove the folder and run again")
    state, memories = _state_of(tensors)
    return Round(number, state, memories, (), RoundRecord.from_json(rounds[-1]))


def drop_unfinished(folder: Path, last: Round | None) -> None:
    """Remove the files of rounds after `last`, left by an interrupted process; they will be computed again."""
    number = -1 if last is None else last.number
    path = folder / "rounds.jsonl"
    if path.exists():
        text = "".join(_line(record) for record in read_rounds(folder) if record["round"] <= number)
        if path.read_text(encoding="utf-8") != text:
            atomic_write(path, lambda partial: write_text(partial, text))
    tables = [folder / "losses.parquet", *(folder / "probes").glob("*.parquet")]
    for part in (part for table in tables for part in table.glob("round-*.parquet")):
        if part.name not in {part_name(finished) for finished in range(number + 1)}:
            part.unlink()


def read_environment(folder: Path) -> Environment:
    """The environment of a run, from `environment.json`; where there is no file, nothing was recorded.

    Raises:
        UsageError: the file is damaged.
    """
    file = folder / "environment.json"
    return from_plain(Environment, read_json(file), file) if file.exists() else Environment()


def committed_round(folder: Path) -> int:
    """The number of the last whole round on disk, its state itself unread; -1 if there is none."""
    state = folder / "state.safetensors"
    if not state.exists():
        return -1
    with damage(state), safetensors.safe_open(state, framework="numpy") as file:
        return int(file.metadata()["round"])


def is_finished(folder: Path, experiment: Experiment) -> bool:
    """Whether the folder holds this experiment, run to its end.

    Raises:
        UsageError: it holds another.
    """
    if not (folder / "spec.json").exists():
        return False
    begin(folder, experiment)
    last = last_round(folder)
    return last is not None and last.number == experiment.federation.num_rounds and (folder / "adapter").is_dir()


def read_rounds(folder: Path) -> list[Object]:
    """The objects in `rounds.jsonl`, without a last line that was cut off while being written."""
    path = folder / "rounds.jsonl"
    if not path.exists():
        return []
    with damage(path):
        lines = path.read_text(encoding="utf-8").split("\n")
        rounds: list[Object] = [json.loads(line) for line in lines[:-1] if line]
        [record["round"] for record in rounds]
    return rounds


def read_losses(folder: Path) -> pd.DataFrame:
    """The loss table: round, model, sample, nll (nats, summed over the sample), tokens (predicted)."""
    parts = sorted((folder / "losses.parquet").glob("round-*.parquet"))
    if not parts:
        raise UsageError(f"{folder} holds no losses yet; let `cllora run` finish a round first")
    with damage(folder / "losses.parquet"):
        return pd.concat([pd.read_parquet(part) for part in parts], ignore_index=True)


def _loss_table(number: int, losses: tuple[Losses, ...]) -> pa.Table:
    names = [block.model for block in losses]
    index = np.repeat(np.arange(len(losses), dtype=np.int32), [len(block.sample) for block in losses])
    return pa.table(
        {
            "round": np.full(len(index), number, np.int32),
            "model": pa.DictionaryArray.from_arrays(pa.array(index), pa.array(names, pa.string())).cast(pa.string()),
            "sample": np.concatenate([block.sample for block in losses] or [np.empty(0, np.int64)]),
            "nll": np.concatenate([block.nll for block in losses] or [np.empty(0)]),
            "tokens": np.concatenate([block.tokens for block in losses] or [np.empty(0, np.int64)]).astype(np.int32),
        }
    )


def _state_of(tensors: Arrays) -> tuple[Arrays, dict[int, Arrays]]:
    state: dict[str, NDArray[np.float32]] = {}
    memories: dict[int, dict[str, NDArray[np.float32]]] = {}
    for key, tensor in tensors.items():
        kind, _, rest = key.partition("/")
        if kind == "server":
            state[rest] = tensor
        else:
            client, _, name = rest.partition("/")
            memories.setdefault(int(client), {})[name] = tensor
    return state, dict(memories)


def part_name(number: int) -> str:
    """The file of one round in a table that has one for each."""
    return f"round-{number:05d}.parquet"


def _line(record: Mapping[str, object]) -> str:
    return json.dumps(record, allow_nan=False) + "\n"


@contextmanager
def damage(path: Path) -> Iterator[None]:
    """Turn a reader's error on a damaged file into one line that names the file."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError, pa.ArrowException) as error:
        raise UsageError(f"{path} is damaged: {one_line(error)}") from None
