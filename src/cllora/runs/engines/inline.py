"""Cells one after the other, in this process."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cllora.runs.engines.engine import Engine, Progress, Setting, Work, engines


@dataclass(frozen=True)
class Inline:
    """One cell after the other, in this process."""

    threads: int

    def __call__(self, work: Work, cells: Sequence[Progress]) -> Iterator[Progress]:
        for cell in cells:
            yield from work(cell)


@engines.register()
def inline(setting: Setting, *, threads: int | None = None) -> Engine:
    """One cell after the other, in the command's own process, on all cores (or OMP_NUM_THREADS of them)."""
    import torch

    return Inline(setting.threads or threads or torch.get_num_threads())
