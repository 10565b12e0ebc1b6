"""The task in cllora: a study run into a folder, as `cllora run` does it, with everything it writes to disk.

python with_cllora.py TASK RESULT.json auto|float32
"""

import sys
import tempfile
from pathlib import Path

import cllora
from cllora.spec import Study
from cllora.store import read_losses, read_partition, read_rounds
from record import Record, losses_of
from task import Task, read_task


def main(folder: str, out: str, precision: str) -> None:
    task = read_task(folder)
    name = "cllora" if precision == "auto" else f"cllora-{precision}"
    record = Record(name, ("cllora", "torch", "transformers", "peft"))
    study = Study.parse(task.study, [f"model.precision={precision}"])
    with tempfile.TemporaryDirectory() as place:
        cllora.run(study, place, on_progress=lambda progress: record.round())
        run = Path(place) / study.cells()[0].name
        check_same_work(task, run)
        losses = read_losses(run)
        for _, rows in losses[losses["model"] == "global"].groupby("round"):
            record.losses(*losses_of(task, dict(zip(rows["sample"], rows["nll"], strict=True))))
        tokens = sum(client["tokens"] for number in read_rounds(run) for client in number["clients"])
    record.write(Path(out), tokens)


def check_same_work(task: Task, run: Path) -> None:
    """Whether it dealt and drew what it dealt and drew when the task was made."""
    partition = read_partition(run)
    for k, ids in enumerate(task.clients_test):
        assert partition.test(k).tolist() == ids
    assert partition.global_test.tolist() == task.global_test
    for number, chosen in zip(read_rounds(run)[1:], task.rounds, strict=True):
        assert [client["client"] for client in number["clients"]] == list(chosen)
        for client in chosen:
            assert sorted(i for batch in chosen[client] for i in batch) == partition.train(client).tolist()


if __name__ == "__main__":
    main(*sys.argv[1:])
