"""Keeping freed memory for the next step, instead of handing it back to the system and asking again."""

import ctypes
import sys

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
