"""Classes of a feature: its values cut into equally filled ranges."""

import numpy as np
from numpy.typing import NDArray

from cllora.errors import UsageError


def quantile_classes(values: NDArray[np.float64], num_classes: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The class of every value, 0 to C-1, and the C-1 cut points: class j holds `cuts[j-1] <= value < cuts[j]`.

    The j-th cut lies where the sorted values change nearest to rank n*j/num_classes, so distinct values give classes
    that differ by at most one, and equal values share a class. A feature with few distinct values gives fewer
    classes than asked (C < num_classes), a constant one gives a single class.

    Args:
        values: the feature, shape (n,).

    Raises:
        UsageError: a value is not finite.
    """
    values = np.asarray(values, np.float64)
    broken = int((~np.isfinite(values)).sum())
    if broken:
        raise UsageError(f"the feature is not a finite number for {broken} of {len(values)} texts; mend the feature")
    distinct, counts = np.unique(values, return_counts=True)
    steps = np.cumsum(counts)[:-1]  # the ranks at which the sorted values change
    if len(steps) == 0:
        return np.zeros(len(values), np.int64), np.empty(0)
    ideal = len(values) * np.arange(1, num_classes) / num_classes
    above = np.searchsorted(steps, ideal).clip(max=len(steps) - 1)
    below = (above - 1).clip(min=0)
    nearest = np.where(ideal - steps[below] <= np.abs(steps[above] - ideal), below, above)
    cuts = distinct[1:][np.unique(nearest)]
    return classes_of(values, cuts), cuts


def value_classes(values: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The classes of a feature without an order: one for every distinct value. See `quantile_classes`."""
    cuts = np.unique(values)[1:]
    return classes_of(values, cuts), cuts


def classes_of(values: NDArray[np.float64], cuts: NDArray[np.float64]) -> NDArray[np.int64]:
    """The class of any values under cuts found earlier, such as those of a test set. Shape (n,)."""
    return np.searchsorted(cuts, values, side="right").astype(np.int64)
