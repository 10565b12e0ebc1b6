"""The pairs of runs that are compared: of equal seed, on the same data, as far as each other."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

PAIRED_BY = ("seed", "progress", "fingerprint")
"""Columns in which a run and its control agree, beside the axes: only runs that came equally far on the same data are
compared."""


def control_values(
    runs: pd.DataFrame, axes: Sequence[str], control: Mapping[str, str], column: str, same_tests: bool = False
) -> "pd.Series[float]":
    """The control's value in a column, for each run (of a control, its own); NaN without a control.

    Args:
        same_tests: only where both test their clients on the same texts, see `cllora.metrics.catalogue.Texts`.

    Raises:
        pandas.errors.MergeError: a run would have two, because a control is there twice.
    """
    if not control:
        return pd.Series(math.nan, index=runs.index)
    agreeing = (*PAIRED_BY, "tests") if same_tests else PAIRED_BY
    keys = [runs[name].tolist() for name in (*(axis for axis in axes if axis not in control), *agreeing)]
    paired_by = list(zip(*keys, strict=True))
    values = runs[column].to_numpy(float)
    controls = np.flatnonzero(_is_control(runs, control))
    of_control = {paired_by[row]: values[row] for row in controls}
    if len(of_control) < len(controls):
        raise pd.errors.MergeError("a control is there twice")
    return pd.Series([of_control.get(key, math.nan) for key in paired_by], index=runs.index, dtype=float)


def _is_control(runs: pd.DataFrame, control: Mapping[str, str]) -> NDArray[np.bool_]:
    agrees = np.ones(len(runs), bool)
    for axis, value in control.items():
        agrees &= (runs[axis] == value).to_numpy(bool)
    return agrees


def rows_of_cells(
    runs: pd.DataFrame, axes: Sequence[str], control: Mapping[str, str]
) -> dict[tuple[str, ...], NDArray[np.intp]]:
    """The rows of every cell that is no control, by its values on the axes."""
    rows: dict[tuple[str, ...], list[int]] = {}
    others = np.flatnonzero(~_is_control(runs, control)).tolist()
    for row, labels in zip(others, zip(*(runs[axis].to_numpy()[others] for axis in axes), strict=True), strict=True):
        rows.setdefault(labels, []).append(row)
    return {labels: np.asarray(own) for labels, own in rows.items()}
