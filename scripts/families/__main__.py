"""Compare every family of causal models, tiny, with stock transformers and PEFT, and write docs/models.md.

    python scripts/families [--only FAMILY ...] [--again] [--page]

It takes some minutes on two cores, keeps what it found in build/families.json, and goes on where it stopped; what was
found with other sources or versions is found again. `--only` takes families or cases ("llama, rope yarn"), `--again`
compares them once more, and `--page` writes the page from what is kept.
"""

import argparse
import contextlib
import dataclasses
import hashlib
import importlib.metadata
import io
import json
import multiprocessing
import os
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import transformers
from cases import cases
from compare import Result, compare
from configs import tiny
from models import save
from page import page

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "build" / "families.json"
PAGE = ROOT / "docs" / "models.md"
SECONDS = 120


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[], help="families or cases")
    parser.add_argument("--again", action="store_true", help="compare again what has been compared")
    parser.add_argument("--page", action="store_true", help="write the page from what is kept")
    asked = parser.parse_args()
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    every = cases()
    chosen = [name for name, (family, _) in every.items() if not asked.only or {name, family} & set(asked.only)]
    unknown = set(asked.only) - set(every)
    if unknown:
        sys.exit(f"there is no family or case {sorted(unknown)[0]!r}")
    stamp = _stamp()
    for number, name in enumerate([] if asked.page else chosen, 1):
        if asked.again or kept.get(name, {}).get("stamp") != stamp:
            began = time.perf_counter()
            kept[name] = _apart(*every[name]) | {"stamp": stamp, "date": time.strftime("%Y-%m-%d", time.gmtime())}
            _keep(kept)
            print(_line(number, len(chosen), name, kept[name], time.perf_counter() - began), flush=True)
    lacking = [name for name in every if kept.get(name, {}).get("stamp") != stamp]
    if lacking and not asked.page:
        print(f"{len(lacking)} cases are not compared as things are, such as {lacking[0]}: {PAGE.name} is not written")
    else:
        PAGE.write_text(page({name: kept[name] for name in every if name in kept}, versions()), encoding="utf-8")


def _line(number: int, total: int, name: str, kept: dict[str, Any], seconds: float) -> str:
    most = " ".join(f"{kind} {value:.0e}" for kind, value in kept["differences"].items())
    advice = [f"advice followed: {line}" for line in kept["advice"]]
    why = "; ".join([*kept["faults"], *advice, *list(kept["refusals"].values())[:1]] or kept["notes"])
    return f"{number:3}/{total} {name:45} {kept['verdict']:10} {seconds:4.1f} s  {most}  {why[:200]}"


def versions() -> dict[str, str]:
    """What the page was made with."""
    return {name: importlib.metadata.version(name).partition("+")[0] for name in ("transformers", "peft", "torch")}


def _stamp() -> str:
    """A hash of all that the results depend on: the sources of the model room and of this script, and the versions."""
    sources = [*sorted((ROOT / "src" / "cllora" / "model").glob("*.py")), *sorted(Path(__file__).parent.glob("*.py"))]
    source = "".join(
        path.read_text(encoding="utf-8") for path in sources if path.name not in ("page.py", "__main__.py")
    )
    return hashlib.sha256((source + str(versions())).encode()).hexdigest()[:12]


def _keep(kept: dict[str, Any]) -> None:
    KEPT.parent.mkdir(exist_ok=True)
    KEPT.with_suffix(".part").write_text(json.dumps(kept, indent=1, sort_keys=True), encoding="utf-8")
    KEPT.with_suffix(".part").replace(KEPT)


def _apart(family: str, changes: dict[str, Any]) -> dict[str, Any]:
    """One case in a process of its own, so that a crash or a hang ends nothing else."""
    with tempfile.TemporaryDirectory() as place:
        process = multiprocessing.get_context("fork").Process(target=_compared, args=(family, changes, Path(place)))
        process.start()
        process.join(SECONDS)
        if process.is_alive():
            process.kill()
            process.join()
        result = Path(place) / "result.json"
        if result.exists():
            return json.loads(result.read_text(encoding="utf-8"))
        how = "ran out of time" if process.exitcode == -9 else f"ended with code {process.exitcode}"
        return dataclasses.asdict(Result(verdict="fails", faults=[f"the comparison {how}"]))


def _compared(family: str, changes: dict[str, Any], place: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            save(tiny(family, changes), place / "model")
        except Exception as error:  # noqa: BLE001 - whatever a family needs that is not here
            problem = " ".join(str(error).split()).partition(" You can install")[0]
            why = f"it cannot be built here: {type(error).__name__}: {problem[:200]}"
            result = Result(verdict="not built", notes=[why])
        else:
            try:
                result = compare(place / "model")
            except Exception:  # noqa: BLE001
                result = Result(verdict="fails", faults=[traceback.format_exc()[-600:]])
    (place / "result.json.part").write_text(json.dumps(dataclasses.asdict(result)), encoding="utf-8")
    (place / "result.json.part").rename(place / "result.json")


def _warm_up() -> None:
    """Import what every case imports, once."""
    with tempfile.TemporaryDirectory() as place, contextlib.redirect_stderr(io.StringIO()):
        save(tiny("llama"), Path(place))
        compare(Path(place), quick=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    _warm_up()
    main()
