"""Results on stdout: for people, and as JSON."""

import json
import os
import sys

NARROWEST = 20
PROSE = 80
"""Columns of prose where there is no terminal."""


def print_wide(value: object) -> None:
    """Print for people: no wider than the terminal; where a program or a file takes it, with tables whole."""
    from rich.console import Console, ConsoleDimensions

    columns = os.environ.get("COLUMNS", "")

    class Output(Console):
        whole = not columns.isdecimal() and not sys.stdout.isatty()

        def on_broken_pipe(self) -> None:
            raise  # rather than rich's own way out

    console = Output(soft_wrap=isinstance(value, str), markup=False, emoji=False, highlight=False)
    natural = PROSE if console.whole else console.width
    # The height too, or rich takes a dumb terminal for one of 80 columns, whatever it is told.
    console.size = ConsoleDimensions(max(int(columns) if columns.isdecimal() else natural, NARROWEST), console.height)
    console.print(value, crop=False)


def print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2, default=str) + "\n")
