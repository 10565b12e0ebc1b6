"""One federated LoRA task side by side in cllora and in its peers: seconds a round, seconds to the end of round 1,
memory, and whether the losses agree. README.md says how to make the peers' environments and what is compared.

    python benchmarks/peers/run.py --venvs FOLDER [--shape embedded|opt-125m] [--systems ...] [--rounds N] [--out F]

Run it alone: anything else on the machine slows several threads far more than its share.
"""

import argparse
import json
import os
import platform
import shlex
import shutil
import statistics
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.table import Table

from task import read_task
from watched import run_watched

HERE = Path(__file__).resolve().parent
SYSTEMS = {
    "twin": ("project", "twin.py"),
    "cllora": ("project", "with_cllora.py", "auto"),
    "cllora-float32": ("project", "with_cllora.py", "float32"),
    "flower-cached": ("flower", "with_flower.py", "cached"),
    "flower-example": ("flower", "with_flower.py", "example"),
    "pfl": ("pfl", "with_pfl.py"),
    "openfedllm": ("openfedllm", "with_openfedllm.py"),
}
"""The environment, the script and its last argument. `project` is the interpreter that runs this."""
AGREE = 0.01
"""Nats per token that a loss may be off the twin's after the last round."""


def environment(task: Path, pad: int) -> dict[str, str]:
    return {
        **os.environ,
        "PEERS_PAD": str(pad),
        "PYTHONPATH": str(HERE),  # Ray's workers import the app by name
        "CLLORA_CACHE": str(task / "cache"),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "FLWR_TELEMETRY_ENABLED": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PEERS_STARTED": str(time.time()),
    }


def interpreter(venv: str, venvs: Path) -> Path:
    python = Path(sys.executable) if venv == "project" else venvs / venv / "bin" / "python"
    if not python.exists():
        sys.exit(f"there is no {python}; make it as {HERE / 'README.md'} says, or leave its systems out of --systems")
    return python


def run_system(name: str, venvs: Path, task: Path, place: Path, pad: int) -> dict:
    """Run one system in its own process; what it wrote about itself, and its memory."""
    venv, script, *rest = SYSTEMS[name]
    result, log = place / f"{name}.json", place / f"{name}.log"
    command = [str(interpreter(venv, venvs)), str(HERE / script), str(task), str(result), *rest]
    with log.open("w", encoding="utf-8") as output:
        status, most = run_watched(command, env=environment(task, pad), stdout=output, stderr=output, cwd=place)
    if status != 0 or not result.exists():
        sys.exit(f"{name} failed with status {status}:\n{log.read_text(encoding='utf-8')[-4000:]}")
    measured = json.loads(result.read_text(encoding="utf-8"))
    return {**measured, "seconds_a_round": seconds_a_round(measured), "peak_pss_mb": round(most / 1e6)}


def off_by(result: dict, twin: dict) -> dict[str, float]:
    """How far the losses are from the twin's at most, in nats per token: globally or on any client's test after the
    last round, and globally after any round."""
    globally = [abs(a - b) for a, b in zip(result["global_loss"], twin["global_loss"], strict=True)]
    clients = zip(result["client_losses"][-1], twin["client_losses"][-1], strict=True)
    last = max(globally[-1], *(abs(a - b) for a, b in clients))
    return {"after the last round": round(last, 6), "globally, after any round": round(max(globally), 6)}


def seconds_a_round(result: dict) -> float:
    """The median over all rounds but the first."""
    return statistics.median(result["seconds"][1:] or result["seconds"])


def shown(results: list[dict]) -> Table:
    table = Table(box=None)
    ours = next((system["seconds_a_round"] for system in results if system["system"] == "cllora"), None)
    table.add_column("system")
    for name in ("s a round", "cllora: times as fast", "s to end of round 1", "peak MB", "last loss", "off by"):
        table.add_column(name, justify="right")
    for system in results:
        table.add_row(
            system["system"],
            f"{system['seconds_a_round']:.2f}",
            f"{system['seconds_a_round'] / ours:.1f}" if ours else "",
            f"{system['seconds_to_round_1']:.1f}",
            f"{system['peak_pss_mb']:,}",
            f"{system['global_loss'][-1]:.4f}",
            f"{system['off_by']['after the last round']:.1e}" if "off_by" in system else "",
        )
    return table


def compare(results: list[dict]) -> list[str]:
    """Add each result's difference from the twin; sentences on those that are too far off or trained other texts."""
    twin = next((system for system in results if system["system"] == "twin"), None)
    problems = []
    if twin is None:
        problems.append("the twin did not run, so no losses were compared")
    for system in results if twin else []:
        system["off_by"] = off_by(system, twin)
        if system["off_by"]["after the last round"] > AGREE:
            problems.append(f"{system['system']} is off the twin, in nats per token: {system['off_by']}")
        if system["trained_tokens"] != twin["trained_tokens"]:
            problems.append(
                f"{system['system']} trained {system['trained_tokens']} tokens, not {twin['trained_tokens']}"
            )
    return problems


def task_options(arguments: argparse.Namespace) -> list[str]:
    given = {"--shape": arguments.shape, "--rounds": arguments.rounds, "--per-package": arguments.per_package}
    return [str(part) for name, value in given.items() if value is not None for part in (name, value)]


def command_of(arguments: argparse.Namespace) -> str:
    """The command without the folders of whoever ran it."""
    systems = [] if arguments.systems == list(SYSTEMS) else ["--systems", *arguments.systems]
    pad = ["--pad", str(arguments.pad)] if arguments.pad else []
    return shlex.join(["python", "benchmarks/peers/run.py", *task_options(arguments), *pad, *systems])


def measure(arguments: argparse.Namespace, place: Path) -> list[dict]:
    task = place / "task"
    if not task.exists():
        command = [sys.executable, str(HERE / "make_task.py"), str(task), *task_options(arguments)]
        status, _ = run_watched(command, env={**os.environ, "HF_HUB_OFFLINE": "1"})
        if status != 0:
            sys.exit("the task could not be made")
    results = []
    for name in arguments.systems:
        print(f"{name} ...", file=sys.stderr, flush=True)
        results.append(run_system(name, arguments.venvs.resolve(), task, place, arguments.pad))
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venvs", type=Path, default=HERE / ".venv", help="folder with the peers' environments")
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=SYSTEMS)
    parser.add_argument("--shape", default="embedded", choices=["embedded", "opt-125m"])
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--pad", type=int, default=0, help="peers but openfedllm pad texts to so many tokens")
    parser.add_argument("--per-package", type=int, help="texts of each package")
    parser.add_argument("--place", type=Path, help="keep task, logs and results here; a task there is taken")
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/peers-SHAPE-DATE.json")
    arguments = parser.parse_args()
    place = (arguments.place or Path(tempfile.mkdtemp(prefix="peers-"))).resolve()
    place.mkdir(parents=True, exist_ok=True)
    results = measure(arguments, place)
    problems = compare(results)
    Console(width=120).print(shown(results))
    about = {
        "date": date.today().isoformat(),
        "machine": machine(),
        "task": about_task(place / "task"),
        "command": command_of(arguments),
        "problems": problems,
    }
    name = f"peers-{arguments.shape}" + (f"-padded-{arguments.pad}" if arguments.pad else "")
    out = arguments.out or HERE.parent / "results" / f"{name}-{date.today().isoformat()}.json"
    for system in results:
        system["client_losses"] = system["client_losses"][-1]  # the last round is what was compared
    out.write_text(json.dumps({**about, "results": results}, indent=1) + "\n", encoding="utf-8")
    if arguments.place is None:
        shutil.rmtree(place)
    if problems:
        sys.exit("\n".join(problems))


def about_task(folder: Path) -> dict:
    task = read_task(folder)
    return {
        "shape": task.shape,
        "clients": len(task.clients_test),
        "rounds": len(task.rounds),
        "steps": sum(len(batches) for chosen in task.rounds for batches in chosen.values()),
        "test texts for all": len(task.global_test),
        "test texts of clients": sum(map(len, task.clients_test)),
    }


def machine() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {os.cpu_count()} cores"


if __name__ == "__main__":
    main()
