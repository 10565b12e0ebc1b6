"""A study's plan for a terminal: how likely it is to decide, and what it costs."""

import math
from dataclasses import asdict

from rich.console import Group, RenderableType
from rich.text import Text

from cllora.analysis import Plan
from cllora.errors import counted, visible
from cllora.metrics import metrics
from cllora.metrics.formats import listed, number, percent
from cllora.reports.sheet import Sheet

EFFECTS = {0.0: "none", 0.5: "half the margin", 1.0: "the margin", 2.0: "twice the margin"}
TIMES = ((3600, "h"), (60, "min"), (1, "s"))


def plan_view(plan: Plan) -> RenderableType:
    """A plan: what is decided and how, a row per comparison and true difference, and the cost in sentences."""
    asked = plan.registration
    names = listed([metrics.metric(name).title for name in asked.primary])
    looks = ", ".join(map(str, asked.looks))
    decided = (
        f"Decided by {names}: {counted(len(asked.comparisons), 'comparison')} with the control, looked at after {looks}"
    )
    level = f"seeds, each at the level {percent(asked.level)}, so that all looks together are wrong at most 5 %"
    return Group(
        Text(visible(f"{decided} {level}."), style="bold"),
        _chances(plan),
        Text(visible(_notes(plan))),
        Text(visible(_cost(plan))),
    )


def _chances(plan: Plan) -> Sheet:
    several = len(plan.registration.primary) > 1
    rows = [(likely, effect, ends) for likely in plan.likely for effect, ends in likely.chances.items()]
    return Sheet(
        {
            "comparison": [f"{likely.metric}, {likely.cell}" if several else likely.cell for likely, _, _ in rows],
            "if truly": [EFFECTS[effect] for _, effect, _ in rows],
            "differs": [_share(ends.differs) for _, _, ends in rows],
            "within it": ["–" if math.isnan(likely.margin) else _share(ends.equivalent) for likely, _, ends in rows],
            "undecided": [_share(1 - ends.decided) for _, _, ends in rows],
            "seeds": [number(ends.seeds, 0) for _, _, ends in rows],
        },
        caption="The chance of each answer (within it: shown to be smaller than the margin), and the seeds at which it "
        "comes on average. By simulated studies with normal differences.",
    )


def _notes(plan: Plan) -> str:
    """The sources of the numbers: margin and spread."""
    spreads = [f"{number(1000 * likely.spread, 1)} ({likely.cell})" for likely in plan.likely]
    seeds = min(likely.seeds for likely in plan.likely)
    margin = plan.registration.margin
    within = (
        "No margin: nothing is known of what training gains."
        if margin is None
        else (f"Margin: {number(1000 * margin, 2)} thousandths of a nat per token.")
    )
    return f"{within} Spread of differences over {seeds} seeds of what was measured, in thousandths: {listed(spreads)}."


def _cost(plan: Plan) -> str:
    cost = plan.cost
    first, last = (_time(cost.seconds_a_cell * cells) for cells in cost.cells)
    ends = (
        f"{cost.cells[0]} cells in {first}"
        if first == last
        else (f"from {cost.cells[0]} cells in {first} to {cost.cells[1]} cells in {last}")
    )
    parts = [f"{_time(cost.seconds_a_cell)} a cell: {ends}, one after the other"]
    parts += [] if math.isnan(cost.peak_mb) else [f"{number(cost.peak_mb, 0)} MB of memory"]
    parts += [] if math.isnan(cost.bytes_sent) else [f"{number(cost.bytes_sent / 1e6, 2)} MB sent in a cell"]
    return f"Cost: {'; '.join(parts)}."


def _time(seconds: float) -> str:
    size, unit = next(((size, unit) for size, unit in TIMES if seconds >= size), TIMES[-1])
    return f"{seconds / size:.2g} {unit}" if seconds < 10 * size else f"{seconds / size:.0f} {unit}"


def _share(value: float) -> str:
    return f"{100 * value:.0f} %"


def plan_rows(plan: Plan) -> dict[str, object]:
    """A plan as plain data."""
    likely = [
        {**asdict(likely), "chances": [{"effect": effect, **asdict(ends)} for effect, ends in likely.chances.items()]}
        for likely in plan.likely
    ]
    return {"registration": plan.registration.model_dump(mode="json"), "likely": likely, "cost": asdict(plan.cost)}
