"""Engines: the same folder from every one of them, and what becomes of a study when processes die."""

import errno
import importlib.util
import json
import logging
import os
import pickle
import subprocess
import sys
import time
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

import cllora
from cllora.errors import UsageError
from cllora.runs import CellsFailed
from cllora.runs.engines import Setting, engines
from cllora.runs.engines import auto as choosing
from cllora.runs.engines.following import Followed
from cllora.runs.engines.pool import OverClients
from cllora.runs.engines.processes import Processes
from cllora.runs.study_cache import StudyCache
from cllora.runs.work import CellWork
from cllora.spec import Study
from cllora.store import committed_round, read_json, read_rounds
from support.engines import KILLED
from support.studies import numbers, study_fields

HERE = {"name": "inline", "threads": 1}
PROCESSES = {"name": "processes", "workers": 2, "threads": 1}
OTHERS = [
    {"name": "slurm", "cluster": "local", "threads": 1, "workers": 2},
    {"name": "ray", "workers": 2, "threads": 1},
]


@pytest.fixture
def plugin(tmp_path):
    """A file with a probe that kills its process."""
    file = tmp_path / "killed.py"
    file.write_text(KILLED)
    return file


UPPER_LAYER = {"r": 2, "lora_dropout": 0.1, "target_modules": ["q_proj", "v_proj"], "layers_to_transform": 1}


def test_processes_give_the_same_folder_as_one_though_one_of_them_is_killed(
    plugin, tiny_models, texts, tmp_path, caplog
):
    """Groups of two cells, of which one group's process kills itself in its second round; two processes at once keep
    what the lower layer makes of texts in the same files."""
    caplog.set_level(logging.INFO, "cllora")
    told = []
    probe = {"name": "killed", "marker": str(tmp_path / "deaths")}
    more = {"evaluation": {"probes": [probe]}, "load": [str(plugin)], "lora": UPPER_LAYER, "seeds": 2}
    fields = study_fields(tiny_models("opt"), texts, **more)
    asked = Study.parse({**fields, "engine": {**PROCESSES, "together": 2}})
    out = cllora.run(asked, tmp_path / "out", on_progress=told.append)
    assert len((tmp_path / "deaths").read_text()) == 1
    assert "goes on after its last whole round" in caplog.text
    for name in {progress.cell.name for progress in told}:
        mine = [progress for progress in told if progress.cell.name == name]
        assert [progress.round for progress in mine] == [0, 1, 2, 3]
        assert [progress.record for progress in mine] == read_rounds(out / name)
    asked = Study.parse({**fields, "engine": {**HERE, "together": 2}, "activations_gb": 0})
    here = cllora.run(asked, tmp_path / "here")
    assert numbers(out) == numbers(here)
    for file in ("study.json", "pins.json"):
        assert read_json(out / file) == read_json(here / file)
    assert {path.name for path in out.iterdir()} == {path.name for path in here.iterdir()}


@pytest.mark.parametrize("engine", OTHERS, ids=lambda engine: engine["name"])
def test_every_engine_gives_the_same_folder(engine, tiny_models, texts, tmp_path):
    """Two cells in one worker, in the same passes, and another cell in a worker of its own."""
    package = engines.facts(engine["name"]).package
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    changes = {"federation__num_rounds": 1, "local__batch_size": 4, "grid": {"partition.alpha": [0.1, 1, "iid"]}}
    fields = study_fields(tiny_models("opt"), texts, **changes)
    out = cllora.run(Study.parse({**fields, "engine": {**engine, "together": 2}}), tmp_path / "out")
    here = cllora.run(Study.parse({**fields, "engine": {**HERE, "together": 2}}), tmp_path / "here")
    assert numbers(out) == numbers(here)
    assert read_json(out / "pins.json") == read_json(here / "pins.json")


KILLING = """
import os, signal
from contextlib import suppress
from pathlib import Path
from cllora.model.learner import Learner

train = Learner.train

def killed(self, jobs, local, seed):
    with suppress(FileExistsError):
        if os.getpid() != {driver}:
            Path({death!r}).touch(exist_ok=False)
            os.kill(os.getpid(), signal.SIGKILL)
    return train(self, jobs, local, seed)

Learner.train = killed
"""


@pytest.fixture
def killing(tmp_path, monkeypatch):
    """A study's file that kills the first process which trains clients."""
    from cllora.model.learner import Learner

    file = tmp_path / "killing.py"
    file.write_text(KILLING.format(death=str(tmp_path / "death"), driver=os.getpid()))
    monkeypatch.setattr(Learner, "train", Learner.train)  # puts it back
    return {"load": [str(file)]}


def over_clients_study(model, texts, strategies, probes):
    """Contexts of clients' own, layers of which the outputs are kept, and measurements over other texts too."""
    return study_fields(
        model,
        texts,
        federation={"num_rounds": 2, "clients_per_round": 4},
        local={"steps": 2, "batch_size": 24, "contexts": [64, 40]},
        lora={"r": 2, "target_modules": ["q_proj", "v_proj"], "layers_to_transform": [1]},
        evaluation={"probes": probes},
        grid={"federation.strategy": strategies},
        control={"federation.strategy": strategies[0]},
        partition__by="prefix_ifd",
    )


@pytest.mark.parametrize("engine", [PROCESSES, OTHERS[1]], ids=lambda engine: engine["name"])
def test_clients_over_workers_give_the_same_folder_though_one_is_killed(
    engine, killing, tiny_models, texts, tmp_path, caplog
):
    """Clients that look at their loss, and that train over what is frozen; measurements of every kind."""
    package = engines.facts(engine["name"]).package
    if package is not None and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    probes = ["attention_entropy", "loss_by_position", {"name": "loss_surface", "side": 2}]
    fields = {**over_clients_study(tiny_models("opt"), texts, ["ditto", "flora"], probes), **killing}
    out = cllora.run(Study.parse({**fields, "engine": {**engine, "clients": True}}), tmp_path / "out")
    assert (tmp_path / "death").exists()
    assert caplog.text.count("another does what it was at") == 1
    here = cllora.run(Study.parse({**fields, "engine": HERE}), tmp_path / "here")
    assert numbers(out) == numbers(here)
    assert read_json(out / "pins.json") == read_json(here / "pins.json")
    assert {path.name for path in out.iterdir()} == {path.name for path in here.iterdir()}


def test_a_client_of_several_models_over_workers_is_that_of_one_process(tiny_models, texts, tmp_path):
    fields = over_clients_study(tiny_models("opt"), texts, ["ifca"], [])
    over_workers = {**PROCESSES, "workers": 1, "clients": True}
    folders = [
        cllora.run(Study.parse({**fields, "engine": engine}), tmp_path / engine["name"])
        for engine in (HERE, over_workers)
    ]
    assert numbers(folders[0]) == numbers(folders[1])


def test_a_gpu_that_is_not_there_is_one_line_of_ray(tiny_models, texts, tmp_path):
    pytest.importorskip("ray")
    asked = Study.parse({**study_fields(tiny_models("opt"), texts), "engine": {**OTHERS[1], "gpus": 99}})
    with pytest.raises(UsageError, match=r"engine\.gpus: Ray finds 0 GPUs on this machine"):
        cllora.run(asked, tmp_path)


def test_cells_together_and_clients_over_workers_are_one_or_the_other(tiny_models, texts, tmp_path):
    engine = {**PROCESSES, "clients": True, "together": 2}
    with pytest.raises(UsageError, match="leave clients out, or in a new --out together"):
        cllora.run(Study.parse({**study_fields(tiny_models("opt"), texts), "engine": engine}), tmp_path)


WAITING = '''
import time
from pathlib import Path
import pandas as pd
from cllora.probes import probes

@probes.register(when="round", title="waiting")
def waiting(model, moment, *, marker: str):
    """Waits in round 2 for as long as there is a file."""
    while moment.round == 2 and Path(marker).exists():
        time.sleep(0.1)
    return pd.DataFrame({"round": [moment.round]})
'''


def test_workers_end_with_a_driver_that_is_killed_and_the_study_goes_on(tiny_models, texts, tmp_path):
    out, file, marker = tmp_path / "out", tmp_path / "study.yaml", tmp_path / "marker"
    (tmp_path / "waiting.py").write_text(WAITING)
    probe = {"name": "waiting", "marker": str(marker)}
    more = {"evaluation": {"probes": [probe]}, "load": [str(tmp_path / "waiting.py")]}
    fields = study_fields(tiny_models("opt"), texts, **more)
    file.write_text(Study.parse({**fields, "engine": {**PROCESSES, "workers": 1}}).to_yaml())
    marker.touch()
    driver = subprocess.Popen([sys.executable, "-m", "cllora", "run", str(file), "--out", str(out)])
    here = Study.parse({**fields, "engine": HERE})
    cells = [out / cell.name for cell in here.cells()]
    until = time.monotonic() + 120
    while not any(committed_round(cell) >= 1 for cell in cells) and time.monotonic() < until:
        time.sleep(0.1)
    workers = psutil.Process(driver.pid).children(recursive=True)
    driver.kill()
    driver.wait()
    assert len(workers) >= 2
    assert psutil.wait_procs(workers, timeout=30)[1] == []
    assert sorted(committed_round(cell) for cell in cells) == [-1, 1]
    marker.unlink()
    assert numbers(cllora.run(here, out)) == numbers(cllora.run(here, tmp_path / "here"))


class InThisProcess:
    """Workers that are none: cells are computed when they are handed out, or `fail` raises in their place."""

    at_once = 1

    def __init__(self, fail):
        self.fail = fail

    def submit(self, function, work, *begins):
        handle = Future()
        try:
            failed = self.fail(begins[0])
            handle.set_result(function(work, *begins) if failed is None else [failed])
        except (OSError, RuntimeError) as error:
            handle.set_exception(error)
        return handle


@pytest.fixture
def failing(monkeypatch):
    """Register an engine whose workers do as the test says."""

    def register(fail):
        @contextmanager
        def started():
            yield InThisProcess(fail)

        def engine(setting, *, together: int = 1):
            return Followed(1, started, "give it more memory", together)

        engines.register("failing")(engine)

    return register


def test_a_cell_whose_worker_always_dies_is_recorded_and_the_others_are_finished(failing, tiny_models, texts, tmp_path):
    def fail(begin):
        if begin.index == 0:
            raise RuntimeError("killed by signal 9")

    failing(fail)
    asked = Study.parse({**study_fields(tiny_models("opt"), texts), "engine": "failing"})
    with pytest.raises(CellsFailed, match=r"its worker died 3 times.*signal 9.*give it more memory"):
        cllora.run(asked, tmp_path)
    assert "give it more memory" in read_json(tmp_path / "alpha=0.1,seed=0" / "failed.json")["error"]
    assert len(read_rounds(tmp_path / "alpha=iid,seed=0")) == 4


@pytest.fixture
def over_clients():
    """Register an engine over clients whose workers do as the test says."""

    def register(fail):
        @contextmanager
        def started():
            yield InThisProcess(fail)

        engines.register("over_clients")(lambda setting: OverClients(1, started, "give it more memory"))

    return register


def test_clients_whose_workers_always_die_are_one_line_and_the_other_cells_are_tried(
    over_clients, tiny_models, texts, tmp_path
):
    deaths = []

    def fail(part):
        if len(deaths) < 3:
            deaths.append(part)
            raise RuntimeError("killed by signal 9")

    over_clients(fail)
    asked = Study.parse({**study_fields(tiny_models("opt"), texts), "engine": "over_clients"})
    with pytest.raises(
        CellsFailed, match=r"1 of 2 cells failed.*evaluates died 3 times.*signal 9.*give it more memory"
    ):
        cllora.run(asked, tmp_path)
    assert len(read_rounds(tmp_path / "alpha=iid,seed=0")) == 4


class UnreadableError(Exception):
    """An error that another process cannot read."""

    def __init__(self, day, *, what):
        super().__init__(f"{what} {day}")


def test_an_error_in_training_at_a_worker_is_that_of_the_cell(over_clients, tiny_models, texts, tmp_path, monkeypatch):
    from cllora.model.learner import Learner

    def train(self, jobs, local, seed):
        raise UnreadableError("today", what="no training")

    monkeypatch.setattr(Learner, "train", train)
    over_clients(lambda part: None)
    asked = Study.parse({**study_fields(tiny_models("opt"), texts), "engine": "over_clients"})
    with pytest.raises(CellsFailed, match=r"RuntimeError.*UnreadableError: no training today"):
        cllora.run(asked, tmp_path)
    record = read_json(tmp_path / "alpha=iid,seed=0" / "failed.json")
    assert "raise UnreadableError" in "".join(record["traceback"])


def test_cells_whose_worker_always_dies_go_on_each_by_itself(failing, tiny_models, texts, tmp_path, caplog):
    deaths = []

    def fail(begin):
        if begin.index == 0:
            deaths.append(begin)
            raise RuntimeError("killed by signal 9")

    failing(fail)
    fields = study_fields(tiny_models("opt"), texts, federation__num_rounds=1)
    with pytest.raises(CellsFailed, match=r"alpha=0\.1,seed=0: its worker died 3 times"):
        cllora.run(Study.parse({**fields, "engine": {"name": "failing", "together": 2}}), tmp_path)
    assert len(deaths) == 6
    assert "alpha=0.1,seed=0, alpha=iid,seed=0 died 3 times" in caplog.text
    assert len(read_rounds(tmp_path / "alpha=iid,seed=0")) == 2


def test_a_full_disk_at_a_worker_stops_the_study_and_what_is_there_is_kept(failing, tiny_models, texts, tmp_path):
    def fail(begin):
        if begin.index == 1:
            raise OSError(errno.ENOSPC, "No space left on device")

    failing(fail)
    asked = Study.parse({**study_fields(tiny_models("opt"), texts), "engine": "failing"})
    with pytest.raises(OSError, match="No space left"):
        cllora.run(asked, tmp_path)
    assert len(read_rounds(tmp_path / "alpha=0.1,seed=0")) == 4
    assert not (tmp_path / "alpha=iid,seed=0").exists()


@pytest.mark.parametrize("engine", ["inline", "failing"])
def test_a_damaged_cell_is_recorded_and_the_others_are_finished(engine, failing, tiny_models, texts, tmp_path):
    failing(lambda begin: None)
    fields = study_fields(tiny_models("opt"), texts, federation__num_rounds=1)
    cllora.run(Study.parse({**fields, "engine": HERE}), tmp_path)
    (tmp_path / "alpha=0.1,seed=0" / "state.safetensors").write_bytes(b"half")
    with pytest.raises(CellsFailed, match=r"state\.safetensors is damaged"):
        cllora.run(Study.parse({**fields, "seeds": 2, "engine": engine}), tmp_path)
    assert len(list(tmp_path.glob("*/failed.json"))) == 1
    assert len(list(tmp_path.glob("*,seed=1/costs.json"))) == 2


def test_a_worker_computes_in_the_commands_own_folder(tmp_path, monkeypatch):
    """Paths in a study are relative to it; a worker of Ray, say, may be started anywhere."""
    monkeypatch.chdir(tmp_path)
    work = CellWork(Path("out"), (), 1, StudyCache(Path("out"), None))
    sent = pickle.dumps(work)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert pickle.loads(sent).folder == Path("out")
    assert Path.cwd() == tmp_path


def test_workers_that_do_not_see_the_same_folder_are_one_line(failing, tiny_models, texts, tmp_path):
    failing(lambda begin: replace(begin, round=begin.rounds))
    asked = Study.parse({**study_fields(tiny_models("opt"), texts), "engine": "failing"})
    with pytest.raises(UsageError, match="must see the same folder"):
        cllora.run(asked, tmp_path)


def test_what_workers_say_is_said_once(tiny_models, texts, tmp_path, failing, caplog):
    caplog.set_level(logging.WARNING, "cllora")

    def fail(begin):
        folder = tmp_path / ".notices"
        folder.mkdir(exist_ok=True)
        with (folder / f"host-{begin.index}.jsonl").open("a") as file:
            file.write(json.dumps([logging.WARNING, "3 rows were dropped"]) + "\n")

    failing(fail)
    cllora.run(Study.parse({**study_fields(tiny_models("opt"), texts), "engine": "failing"}), tmp_path)
    assert caplog.text.count("3 rows were dropped") == 1
    assert not (tmp_path / ".notices").exists()


def test_the_threads_of_a_study_are_those_that_it_began_with(tiny_models, texts, tmp_path):
    fields = study_fields(tiny_models("opt"), texts, federation__num_rounds=1)
    cllora.run(Study.parse({**fields, "engine": HERE}), tmp_path)
    more = Study.parse({**fields, "seeds": 2, "engine": {"name": "inline", "threads": 2}})
    cllora.run(more, tmp_path)
    for file in tmp_path.glob("*/environment.json"):
        assert read_json(file)["hardware"]["threads"] == 1
    (tmp_path / "pins.json").unlink()  # as in a folder of 0.1.0
    cllora.run(Study.parse({**fields, "seeds": 3, "engine": "inline"}), tmp_path)
    assert read_json(tmp_path / "pins.json")["threads"] == ["1"]


@pytest.mark.parametrize(
    ("cells", "cores", "gigabytes", "gpu", "device", "expected"),
    [
        (8, 4, 64, False, "auto", 4),
        (3, 4, 64, False, "auto", 3),
        (1, 4, 64, False, "auto", 1),
        (8, 1, 64, False, "auto", 1),
        (8, 4, 2.5, False, "auto", 2),
        (8, 4, 0.5, False, "auto", 1),
        (8, 4, 64, True, "auto", 1),
        (8, 4, 64, True, "cpu", 4),
    ],
)
def test_auto_takes_as_many_processes_as_cells_cores_and_memory_allow(
    monkeypatch, tmp_path, cells, cores, gigabytes, gpu, device, expected
):
    monkeypatch.setattr(choosing, "cores", lambda: cores)
    monkeypatch.setattr(choosing, "free_memory", lambda: int(gigabytes * 1e9))
    monkeypatch.setattr(choosing, "may_have_gpu", lambda: gpu)
    asked = Study.parse({"model": {"name": "embedded-64", "context": 128, "device": device}, "seeds": cells})
    assert choosing.workers_that_fit(Setting(tmp_path, asked.cells())) == expected


def test_a_base_that_is_not_here_yet_is_computed_with_in_one_process(monkeypatch, tmp_path):
    monkeypatch.setattr(choosing, "may_have_gpu", lambda: False)
    monkeypatch.setattr(choosing, "cores", lambda: 4)
    asked = Study.parse({"model": {"name": "someone/a-model"}, "seeds": 4})
    assert choosing.workers_that_fit(Setting(tmp_path, asked.cells())) == 1


def test_what_this_program_alone_registers_keeps_a_study_in_it(tiny_models, texts, tmp_path, monkeypatch):
    from cllora.federated import strategies

    strategies.register("mine")(lambda setting: strategies.get("fedavg")(setting))
    fields = study_fields(tiny_models("opt"), texts, federation__num_rounds=1, federation__strategy="mine")
    with pytest.raises(UsageError, match=r"strategy 'mine' is registered by this program alone.*load.*inline"):
        cllora.run(Study.parse({**fields, "engine": "processes"}), tmp_path)
    monkeypatch.setattr(choosing, "cores", lambda: 4)
    cells = Study.parse(fields).cells()
    assert [choosing.workers_that_fit(Setting(tmp_path, cells, 1, name)) for name in (None, "strategy 'mine'")] == [
        2,
        1,
    ]


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        ("proceses", "unknown engine 'proceses'; did you mean 'processes'?"),
        ({"name": "processes", "workers": 0}, "workers"),
        ({"name": "processes", "gpus": 1}, "has no option 'gpus'"),
    ],
)
def test_an_engine_that_cannot_be_is_refused_before_anything_is_done(engine, said, tiny_models, texts, tmp_path):
    with pytest.raises(UsageError, match="engine") as refused:
        cllora.run(Study.parse({**study_fields(tiny_models("opt"), texts), "engine": engine}), tmp_path / "out")
    assert said in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_users_own_engine_is_a_function_in_a_file(tiny_models, texts, tmp_path, monkeypatch):
    """One that goes on with every cell by a round in turn, the last one first."""
    file = tmp_path / "in_turn.py"
    file.write_text('''
from dataclasses import dataclass
from cllora.runs.engines import engines

@dataclass(frozen=True)
class InTurn:
    threads: int = 1

    def __call__(self, work, cells):
        running = [work(cell) for cell in reversed(cells)]
        while running:
            for cell in list(running):
                progress = next(cell, None)
                if progress is None:
                    running.remove(cell)
                else:
                    yield progress

@engines.register("in_turn")
def in_turn(setting):
    """Every cell by a round in turn."""
    return InTurn()
''')
    fields = {**study_fields(tiny_models("opt"), texts), "load": [str(file)]}
    told = []
    study_in_turn = Study.parse({**fields, "engine": "in_turn"})
    folder = cllora.run(study_in_turn, tmp_path / "out", on_progress=told.append)
    assert [progress.round for progress in told] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert len({progress.cell.name for progress in told}) == 2
    here = cllora.run(Study.parse({**fields, "engine": HERE}), tmp_path / "here")
    assert numbers(folder) == numbers(here)


def test_stopping_ends_the_workers_at_once():
    mine = psutil.Process(os.getpid())
    before = set(mine.children(recursive=True))
    workers = Processes(2, 1)
    handles = [workers.submit(time.sleep, 600) for _ in range(2)]
    begun = [child for child in mine.children(recursive=True) if child not in before]
    begun = [child for child in begun if "loky.backend.popen" in " ".join(child.cmdline())]
    workers.stop()
    assert len(begun) == 2
    assert psutil.wait_procs(begun, timeout=5)[1] == []
    assert all(handle.exception() is not None for handle in handles)
