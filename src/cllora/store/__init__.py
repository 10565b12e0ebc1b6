"""Folders on disk: a run that whoever has it can resume, report or rerun. No pickle anywhere."""

from cllora.store.files import Object, atomic_write, lock_of, read_json, write_json
from cllora.store.folder import (
    FAILED,
    begin,
    by_reason,
    committed_round,
    drop_unfinished,
    is_finished,
    last_round,
    partition_table,
    read_environment,
    read_experiment,
    read_losses,
    read_partition,
    read_rounds,
    save_round,
    write_partition,
)
from cllora.store.looks import Looks, read_looks, write_looks
from cllora.store.probes import ProbeTables, probe_names, read_probe, read_probes_of, write_probe
from cllora.store.wire import message_bytes, serialise

__all__ = [
    "FAILED",
    "Looks",
    "Object",
    "ProbeTables",
    "atomic_write",
    "begin",
    "by_reason",
    "committed_round",
    "drop_unfinished",
    "is_finished",
    "last_round",
    "lock_of",
    "message_bytes",
    "partition_table",
    "probe_names",
    "read_environment",
    "read_experiment",
    "read_json",
    "read_looks",
    "read_losses",
    "read_partition",
    "read_probe",
    "read_probes_of",
    "read_rounds",
    "save_round",
    "serialise",
    "write_json",
    "write_looks",
    "write_partition",
    "write_probe",
]
