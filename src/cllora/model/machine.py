"""Calls of the operating system and the C library: the processor's name, the process's peak memory, and keeping freed
memory for the next step instead of giving it back. All of `/proc` is read here."""

import ctypes
import platform
import sys
from pathlib import Path

import torch

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1  # names of glibc's mallopt
LARGEST = 2**31 - 1


def keep_freed_memory() -> None:
    """Tell the C library to keep what is freed. Every step frees and allocates the same activations, and fresh pages
    cost a quarter of the time on a CPU. Only glibc is asked; elsewhere nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(MMAP_THRESHOLD, LARGEST)
        library.mallopt(TRIM_THRESHOLD, LARGEST)


def cpu_name() -> str:
    """The processor's name."""
    return _cpu_entry("model name") or platform.processor() or platform.machine()


def slow_bfloat16() -> bool:
    """Whether the processor is one of those that are known to have no instructions for bfloat16: of Intel's and AMD's
    kind, without AVX512_BF16 and AMX."""
    flags = _cpu_entry("flags").split()
    return bool(flags) and platform.machine() in ("x86_64", "AMD64") and not {"avx512_bf16", "amx_bf16"} & {*flags}


def _cpu_entry(name: str) -> str:
    """An entry of /proc/cpuinfo for the first core; empty where there is no such file, or no such entry."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.partition(":")[0].strip() == name), "")


def forget_peak(device: torch.device) -> bool:
    """Begin to measure peak memory anew; whether that is possible here: on a GPU, and on Linux.

    What was freed before, and kept, is handed back first, so that the peak is not that of something else.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:  # Some sandboxes have no such file, or none that can be written to.
        return False
    return True


def peak_memory(device: torch.device) -> int:
    """Bytes: the most that was resident since `forget_peak`, of the whole process; on a GPU, the most allocated."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])
