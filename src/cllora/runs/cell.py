"""One cell: its folder, its rounds, its final adapter."""

import dataclasses
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from cllora.federated import Federation, global_models, rounds, strategy_of
from cllora.model.engine import Engine
from cllora.partition import assign
from cllora.probes import probes
from cllora.runs.environment import environment
from cllora.runs.partitions import base_nll
from cllora.runs.probing import Probing
from cllora.spec import Experiment
from cllora.store import (
    begin,
    drop_unfinished,
    last_round,
    read_json,
    read_partition,
    read_rounds,
    save_round,
    write_json,
    write_partition,
    write_probe,
)
from cllora.types import Model, Partition, Round, Samples, to_plain


def run_cell(
    experiment: Experiment, folder: Path, samples: Samples, engine: Engine, may_save: Callable[[], None] = lambda: None
) -> Iterator[Round]:
    """Run an experiment into its folder from where it stopped, yielding each round once it is on disk.

    `may_save` returns when a round that is done may be put on disk.
    """
    begin(folder, experiment)
    last = last_round(folder)
    drop_unfinished(folder, last)
    partition = read_partition(folder) if last is not None else _dealt(experiment, folder, samples, engine)
    _record_environment(folder / "environment.json", to_plain(environment(experiment, samples, engine)))
    federation = Federation(experiment, partition, strategy_of(experiment, engine), engine)
    probing = Probing(federation)
    peaks: list[int | None] = []
    for after in rounds(federation, last):
        for name, table in probing.tables(after):
            write_probe(folder, name, after.number, table, every_round=probes.facts(name).when == "round")
        may_save()
        save_round(folder, after)
        peaks += [client.peak_bytes for client in after.participants]
        # Measurements are on disk now; what goes on is the state.
        last = dataclasses.replace(after, losses=(), participants=())
        del after
        yield last
    assert last is not None
    if not (folder / "costs.json").exists():
        write_json(folder / "costs.json", costs(read_rounds(folder), peaks))
    _save_adapters(engine, global_models(federation.strategy, last.state), folder / "adapter")


def _dealt(experiment: Experiment, folder: Path, samples: Samples, engine: Engine) -> Partition:
    """A new partition, on disk: a run goes on with the one that it began with, however a feature comes out then."""
    partition = assign(experiment, samples, partial(base_nll, engine))
    write_partition(folder, partition)
    return partition


def _record_environment(path: Path, now: Mapping[str, object]) -> None:
    """Keep what the run began on; where it goes on on something else, add that under `resumed_on`."""
    if not path.exists():
        write_json(path, now)
        return
    began = read_json(path)
    earlier = [began, *began.get("resumed_on", [])]
    if all(any(now[key] != record.get(key) for key in now) for record in earlier):
        write_json(path, {**began, "resumed_on": [*began.get("resumed_on", []), now]})


def costs(rounds: Sequence[Mapping[str, Any]], peaks: Sequence[int | None]) -> dict[str, object]:  # Any: JSON's
    """The costs of a run's local training: seconds, predicted tokens, and peak memory in MB (10^6 bytes).

    The peak is None unless there is one of every client's training: those of an earlier process have none.

    Args:
        rounds: the objects of `rounds.jsonl`.
        peaks: of each client's training in each round of this process, in bytes.
    """
    clients = [client for record in rounds for client in record["clients"]]
    measured = [peak for peak in peaks if peak is not None]
    return {
        "training_seconds": round(sum(client["seconds"] for client in clients), 4),
        "trained_tokens": sum(client["tokens"] for client in clients),
        "peak_mb": max(measured) / 1e6 if measured and len(measured) == len(clients) else None,
    }


def _save_adapters(engine: Engine, models: Mapping[str, Model], folder: Path) -> None:
    """The server's model, or a folder for each of several; all of it is put in place in one rename."""
    partial = folder.with_name(".adapter.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for name, model in models.items():
        engine.save_adapter(model, partial if len(models) == 1 else partial / name.rpartition("/")[2])
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
