"""A cell of a study: one experiment, and the name of its folder."""

from cllora.spec.fields import axis_text
from cllora.spec.section import Section
from cllora.spec.sections import Experiment

REDRAW = "redraw"


class Cell(Section):
    """One experiment of a study and the axis values that set it apart (without the seed).

    A control that is drawn again has the label `redraw` besides.
    """

    labels: dict[str, object]
    experiment: Experiment

    @property
    def name(self) -> str:
        """The cell's folder, such as `alpha=0.1,seed=0`."""
        short = {axis: axis.split(".")[-1] for axis in self.labels}
        unique = len(set(short.values())) == len(short)
        parts = [f"{short[axis] if unique else axis}={axis_text(value)}" for axis, value in self.labels.items()]
        text = ",".join([*parts, f"seed={self.experiment.seed}"])
        return "".join(c if c.isalnum() or c in "=,.-_+" else "-" for c in text)

    @property
    def setting(self) -> str:
        """The cell's name without the seed, whichever draw it is of."""
        labels = {axis: value for axis, value in self.labels.items() if axis != REDRAW}
        return without_seed(self.model_copy(update={"labels": labels}).name)


def without_seed(name: str) -> str:
    """The name of a cell's folder without the seed, which stands last: the same for all seeds."""
    return name.rpartition(",")[0] or name.rpartition("=")[0]
