"""Owners' alphas in plain words, and where they lie on the effects that a study measured."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cllora.analysis import Results, Run
from cllora.analysis import results as read
from cllora.analysis.names import feature_text
from cllora.errors import UsageError, counted
from cllora.metrics.formats import signed
from cllora.partition import Estimate, Inspection
from cllora.spec import Choice, axis_text

NATS = "nats per token"
ALPHA = "partition.alpha"
WIDE, EVEN = 4, 10
"""An interval is called wide if its ends differ by more than a factor, or if it goes from below an alpha to iid."""


@dataclass(frozen=True)
class Curve:
    """The effects that were measured at several alphas, all else equal; arrays (M,) by ascending alpha, all finite.

    `difference` is the final global loss minus that of `iid`, in nats per token, with its 95 % interval (NaN with one
    seed). `setting` says what else sets these runs apart from others of the study; `measured_on` what they ran on.
    """

    scheme: str
    by: Choice
    at_equal_length: bool
    classes: int
    alphas: np.ndarray
    difference: np.ndarray
    low: np.ndarray
    high: np.ndarray
    seeds: int
    setting: str
    measured_on: str

    @property
    def subject(self) -> str:
        if self.scheme == "quantity":
            return "quantity"
        return feature_text(self.by) + (" made independent of length" if self.at_equal_length else "")


def curves_of(folder: Path) -> list[Curve]:
    """The curves of effect over alpha in a folder of runs, one for every setting of the study's other axes.

    Raises:
        UsageError: there are no runs, alpha was not varied against `iid`, or with a scheme that has no alpha here.
    """
    results = read(folder)
    axis = results.axis(ALPHA)
    if axis is None:
        raise UsageError(f"{folder} does not vary {ALPHA}, so it has no effects by alpha")
    if results.control.get(axis) != "iid":
        raise UsageError(f"{folder} does not compare with {ALPHA}: iid, so it has no effects against no skew")
    found = list(_curves(results, axis))
    if not found:
        raise UsageError(f"{folder} has no finite alpha yet whose runs can be compared with those at iid")
    unknown = {curve.scheme for curve in found} - {"client_mix", "quantity"}
    if unknown:
        raise UsageError(
            f"{folder} is of scheme {' and '.join(sorted(unknown))}: owners are put on the scale of client_mix and "
            "quantity, which skew one thing alone"
        )
    return found


def _curves(results: Results, axis: str) -> Iterator[Curve]:
    table = results.contrasts("final_loss").dropna(subset=["difference"])
    table = table[(table["seeds"] > 0) & (table[axis] != "iid")]
    others = [name for name in results.axes if name != axis]
    for _, rows in table.groupby(others, sort=False) if others else [("", table)]:
        if rows.empty:
            continue
        rows = rows.assign(at=rows[axis].astype(float)).sort_values("at")
        labels = {name: str(rows[name].iloc[0]) for name in others}
        run = next(run for run in results.members if labels.items() <= run.labels.items() and run.labels[axis] != "iid")
        partition = run.experiment.partition
        yield Curve(
            scheme=partition.scheme,
            by=partition.by,
            at_equal_length=partition.residual_on is not None,
            classes=partition.classes,
            **{name: rows[name].to_numpy(float) for name in ("difference", "low", "high")},
            alphas=rows["at"].to_numpy(float),
            seeds=int(rows["seeds"].min()),
            setting=", ".join(f"{name} = {value}" for name, value in labels.items()),
            measured_on=_measured_on(run),
        )


def _measured_on(run: Run) -> str:
    data = run.experiment.data
    source = data.corpus.name if data.corpus is not None else axis_text(data.path or data.hub)
    return f"{run.experiment.model.name}, {source}, {run.experiment.partition.num_clients} clients"


def sentences(found: Inspection, curves: Sequence[Curve] = ()) -> list[str]:
    """What the owners' skews are like, in plain words, each followed by what the curves say of it."""
    said = _told("quantity", found.quantity, found)
    said += [_effect(curve, found.quantity) for curve in curves if curve.scheme == "quantity"]
    for skew in found.features:
        subject = feature_text(skew.by)
        said += _told(subject, skew.alpha, found)
        for curve in curves:
            if curve.scheme == "client_mix" and (curve.subject, curve.classes) == (subject, skew.classes):
                said.append(_effect(curve, skew.alpha))
    inspected = {"quantity", *(feature_text(skew.by) for skew in found.features)}
    for subject in dict.fromkeys(curve.subject for curve in curves if curve.subject not in inspected):
        said.append(f"The study varies the skew of {subject}, which is not among what was looked at (--by).")
    return said


def _told(subject: str, alpha: Estimate | None, found: Inspection) -> list[str]:
    """The estimate as a sentence, and what to think of its width."""
    if alpha is None:
        why = "all have a single text" if subject == "quantity" else "there is one class, or no owner with two texts"
        return [f"Nothing can be told of the skew of {subject}: {why}."]
    low, high = at_alpha(alpha.low), at_alpha(alpha.high)
    if math.isinf(alpha.alpha):
        beyond = f"; an alpha below {low} would show" if alpha.low > 0 else ""
        main = f"Your skew of {subject} cannot be told from iid: owners differ no more than chance makes them{beyond}."
    elif alpha.alpha == 0:
        main = f"Your skew of {subject} is as strong as can be: like an alpha below {high}."
    else:
        main = f"Your skew of {subject} is like alpha = {at_alpha(alpha.alpha)} (95 % interval {low} to {high})."
    if alpha.low < EVEN if math.isinf(alpha.high) else alpha.high > WIDE * alpha.low:
        texts = f"{np.median(found.texts):,.0f} texts in the median"
        return [main, f"That is a wide interval: {len(found.names):,} owners with {texts} tell no more."]
    return [main]


def at_alpha(alpha: float) -> str:
    """An alpha to two digits, infinity as iid."""
    return "iid" if math.isinf(alpha) else f"{float(f'{alpha:.2g}'):,g}"


def _effect(curve: Curve, alpha: Estimate | None) -> str:
    """What was measured at the alphas around the estimate; between them a line, beyond them nothing."""
    apart = f" at {curve.setting}" if curve.setting else ""
    where = f"In the study{apart} ({curve.measured_on}; {counted(curve.seeds, 'seed')})"
    if alpha is None:
        return f"{where}, effects by alpha were measured, but there is no alpha to look up."
    first, last = curve.alphas[0], curve.alphas[-1]
    scale = f"alphas from {at_alpha(first)} to {at_alpha(last)}" if first < last else f"alpha {at_alpha(first)} alone"
    if math.isinf(alpha.alpha):
        return f"{where}, iid is what others are compared with: no difference.{_over_interval(curve, alpha)}"
    if not first <= alpha.alpha <= last:
        end, way = (0, "stronger") if alpha.alpha < first else (-1, "weaker")
        return (
            f"{where}, {scale} {'was' if first == last else 'were'} measured; yours is {way}, where nothing was. "
            f"Nearest: {_point(curve, end)} against iid.{_over_interval(curve, alpha)}"
        )
    exact = np.flatnonzero(np.isclose(curve.alphas, alpha.alpha, rtol=0.005))
    if len(exact):
        return f"{where}, we measured {_point(curve, exact[0])} against iid.{_over_interval(curve, alpha)}"
    above = int(np.searchsorted(curve.alphas, alpha.alpha))
    difference, low, high = (between(curve, name, alpha.alpha) for name in ("difference", "low", "high"))
    return (
        f"{where}, we measured {_point(curve, above - 1)} and {_point(curve, above)} against iid; on the line between "
        f"them (in log alpha) yours is at {_nats(difference, low, high)}.{_over_interval(curve, alpha)}"
    )


def _point(curve: Curve, place: int) -> str:
    numbers = curve.difference[place], curve.low[place], curve.high[place]
    return f"{_nats(*numbers)} at alpha {at_alpha(curve.alphas[place])}"


def _nats(difference: float, low: float, high: float) -> str:
    """A difference with its interval, if there is one."""
    doubt = "" if math.isnan(low) else f" ({signed(low)} to {signed(high)})"
    return f"{signed(difference)}{doubt} {NATS}"


def between(curve: Curve, of: str, alpha: float) -> float:
    """A curve's `difference`, `low` or `high` at an alpha between measured ones: linear in log alpha.

    Ends of intervals that are joined by a line are never too narrow for the joined differences, as the deviation of a
    weighted mean is at most the weighted mean of the deviations.
    """
    return float(np.interp(math.log(alpha), np.log(curve.alphas), getattr(curve, of)))


def _over_interval(curve: Curve, alpha: Estimate) -> str:
    """The differences over the alphas of the interval that were measured, and whether it goes beyond them."""
    first, last = float(curve.alphas[0]), float(curve.alphas[-1])
    low, high = max(alpha.low, first), min(alpha.high, last)
    outside = alpha.low < first or last < alpha.high < math.inf
    beyond = " Part of your interval lies beyond what was measured." if outside else ""
    if low >= high:
        return beyond
    inside = curve.alphas[(low < curve.alphas) & (curve.alphas < high)]
    values = [between(curve, "difference", each) for each in (low, *inside, high)]
    if math.isinf(alpha.high):
        values.append(0.0)
    return f" Over your interval of alpha: {signed(min(values))} to {signed(max(values))}.{beyond}"
