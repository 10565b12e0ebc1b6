"""Cells one after the other, in this process."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import PositiveInt

from cllora.runs.engines.engine import Engine, Progress, Setting, Work, engines, groups_of


@dataclass(frozen=True)
class Inline:
    """One cell after the other in this process, or one group of cells after the other."""

    threads: int
    together: int = 1

    def __call__(self, work: Work, cells: Sequence[Progress]) -> Iterator[Progress]:
        for group in groups_of(cells, self.together):
            yield from work.together(group)


@engines.register()
def inline(setting: Setting, *, threads: int | None = None, together: PositiveInt = 1) -> Engine:
    """One cell after the other, in the command's own process, on all cores (or OMP_NUM_THREADS of them); `together` of
    them in the same passes over their base."""
    import torch

    return Inline(setting.threads or threads or torch.get_num_threads(), setting.together or together)
