"""The report's tables for a paper: LaTeX with the rules of the package booktabs."""

from collections.abc import Mapping

import pandas as pd

from cllora.reports.figure import Figure
from cllora.reports.html import MOST_ROWS, as_text

_SIGNS = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        **{sign: f"\\{sign}" for sign in "&%$#_{}"},
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        **{sign: f"${sign}$" for sign in "<>"},
        "−": r"$-$",
        "±": r"$\pm$",
        "·": r"$\cdot$",
        "²": r"$^2$",
        "–": "--",
        "\u00a0": "~",
    }
)


def tables(made: Mapping[str, Figure]) -> dict[str, str]:
    """The table of every figure as the page shows it, by the figure's name; none of over `MOST_ROWS` rows.

    Those are numbers for a machine (single rounds, single clients), and are in the CSV files.
    """
    shown = {name: as_text(figure) for name, figure in made.items()}
    return {
        name: booktabs(table, f"{made[name].title}. {made[name].conclusion}", name)
        for name, table in shown.items()
        if 0 < len(table) <= MOST_ROWS
    }


def booktabs(table: pd.DataFrame, caption: str, label: str) -> str:
    r"""A table environment: `\input` it where `\usepackage{booktabs, adjustbox}` is on. Labelled `tab:LABEL`.

    It is made smaller where it is wider than the line. Columns of numbers stand right; one with anything longer than 40
    characters has four tenths of the line.

    Args:
        table: of text, as `columns.shown` makes it.
    """
    columns = "".join(_column(table[name].tolist()) for name in table.columns)
    style = table.map(escaped).rename(columns=escaped).style.hide(axis="index")
    tabular = style.to_latex(hrules=True, column_format=columns)
    return (
        "% needs \\usepackage{booktabs, adjustbox}\n\\begin{table}\n\\centering\\small\n"
        f"\\caption{{{escaped(caption)}}}\n\\label{{tab:{label}}}\n\\begin{{adjustbox}}{{max width=\\linewidth}}\n"
        f"{tabular}\\end{{adjustbox}}\n\\end{{table}}\n"
    )


def escaped(plain: str) -> str:
    """Text with every sign that means something to LaTeX written out."""
    return str(plain).translate(_SIGNS)


def _column(values: list[str]) -> str:
    if max(map(len, values)) > 40:
        return r"p{0.4\linewidth}"
    return "r" if all(value == "–" or value[:1] in "+−0123456789" for value in values) else "l"
