"""The precision of the frozen base where a study leaves it to the machine."""

import json
import logging
import time
from pathlib import Path

import torch

from cllora.model.machine import cpu_name, slow_bfloat16
from cllora.places import cache_folder

log = logging.getLogger("cllora")

WORTH_IT = 1.5
"""The factor by which bfloat16 matrix products must be faster than float32 ones to be chosen."""
SIZE = 768
REPEATS = 5


def automatic(device: torch.device) -> str:
    """bfloat16 where matrix products in it are much faster, else float32.

    A GPU says what it supports. A CPU is timed once, for a fraction of a second, and the answer is kept in the cache
    folder: a second look could come out differently, and a study's cells have to agree. What was chosen is logged.
    """
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    if slow_bfloat16():  # To time products that are emulated takes seconds.
        log.info("precision auto: float32; this processor has no instructions for bfloat16")
        return "float32"
    kept = cache_folder() / "precision.json"
    # A home folder may be shared by machines, some with fast bfloat16 and some without.
    key = f"{torch.__version__} {torch.backends.cpu.get_cpu_capability()} {cpu_name()} {torch.get_num_threads()}"
    choices = _kept(kept)
    if key not in choices:
        ratio = product_seconds(torch.float32) / product_seconds(torch.bfloat16)
        choices[key] = {"precision": "bfloat16" if ratio >= WORTH_IT else "float32", "times_faster": round(ratio, 2)}
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(choices, indent=2), encoding="utf-8")
    precision, times = choices[key]["precision"], choices[key]["times_faster"]
    log.info(
        "precision auto: %s; matrix products in bfloat16 are %s times as fast here as in float32", precision, times
    )
    return str(precision)


def product_seconds(dtype: torch.dtype) -> float:
    """The fastest of a few matrix products of `SIZE` cubed."""
    a = torch.ones(SIZE, SIZE, dtype=dtype)
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - began)
    return min(times)


def _kept(path: Path) -> dict[str, dict[str, str | float]]:
    try:
        choices: dict[str, dict[str, str | float]] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}  # Not measured yet, or cut off while being written: measure.
    return choices
