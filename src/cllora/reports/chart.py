"""A chart as plain dictionaries under Plotly's names; one of Plotly's own figures only once somebody asks for it.

Plotly's objects check every value that they are given, which takes most of the time of drawing.
"""

from dataclasses import dataclass, field
from typing import Any

import plotly.graph_objects as go

Settings = dict[str, Any]  # Any: whatever Plotly takes under its own names
"""Settings of a chart, under Plotly's names."""
Trace = Settings
"""A trace of a chart, by its `type`."""


@dataclass
class Chart:
    """The layout of a chart, and its traces."""

    layout: Settings
    data: list[Trace] = field(default_factory=list)

    def x_axis(self, **settings: object) -> None:
        """Set some of the horizontal axis."""
        self.layout["xaxis"] |= settings

    def y_axis(self, **settings: object) -> None:
        """Set some of the vertical axis."""
        self.layout["yaxis"] |= settings

    def shape(self, **shape: object) -> None:
        """Draw a shape besides the traces."""
        self.layout["shapes"] = [*self.layout.get("shapes", ()), shape]

    def content(self) -> Settings:
        """The traces as `data`, and the `layout`, as Plotly's script draws them."""
        return {"data": self.data, "layout": self.layout}

    def figure(self) -> "go.Figure":
        """The chart as a figure of Plotly's, which without a template would be given one."""
        return go.Figure({"data": self.data, "layout": {"template": "none", **self.layout}})


class MadeWhenRead:
    """The field of a chart that reads as a figure of Plotly's, made when it is first read."""

    def __get__(self, plot: object, owner: type) -> "go.Figure":
        """The figure, which may then be changed: from here on the plot holds no other."""
        if plot is None:
            return self
        given = vars(plot)["chart"]
        if isinstance(given, Chart):
            vars(plot)["chart"] = given = given.figure()
        return given

    def __set__(self, plot: object, chart: "Chart | go.Figure") -> None:
        vars(plot)["chart"] = chart
