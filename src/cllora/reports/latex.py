"""The report's tables for a paper: LaTeX with the rules of the package booktabs."""

import pandas as pd

from cllora.reports.figure import Figure
from cllora.reports.markup import MOST_ROWS, cell

_SIGNS = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
    "−": r"$-$",
    "±": r"$\pm$",
    "·": r"$\cdot$",
    "²": r"$^2$",
    "–": "--",
    "\u00a0": "~",
}


def tables(made: dict[str, Figure]) -> dict[str, str]:
    """The table of every figure as the page shows it, by the figure's name; none of over `MOST_ROWS` rows.

    Those are numbers for a machine (single rounds, single clients), and are in the CSV files.
    """
    shown = {name: figure.table if figure.shown is None else figure.shown for name, figure in made.items()}
    return {
        name: booktabs(table, f"{made[name].title}. {made[name].conclusion}", name)
        for name, table in shown.items()
        if 0 < len(table) <= MOST_ROWS
    }


def booktabs(table: pd.DataFrame, caption: str, label: str) -> str:
    r"""A table environment: `\input` it where `\usepackage{booktabs, adjustbox}` is on. Labelled `tab:LABEL`.

    It is made smaller where it is wider than the line. Columns of numbers stand right; one with anything longer than 40
    characters has four tenths of the line.
    """
    texts = [[cell(value) for value in row] for row in table.itertuples(index=False)]
    columns = "".join(_column([row[i] for row in texts]) for i in range(table.shape[1]))
    lines = [" & ".join(map(escaped, row)) + r" \\" for row in texts]
    return "\n".join(
        [
            "% needs \\usepackage{booktabs, adjustbox}",
            r"\begin{table}",
            r"\centering\small",
            rf"\caption{{{escaped(caption)}}}",
            rf"\label{{tab:{label}}}",
            r"\begin{adjustbox}{max width=\linewidth}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            " & ".join(escaped(str(column)) for column in table.columns) + r" \\",
            r"\midrule",
            *lines,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{adjustbox}",
            r"\end{table}",
            "",
        ]
    )


def escaped(plain: str) -> str:
    """Text with every sign that means something to LaTeX written out."""
    return "".join(_SIGNS.get(sign, sign) for sign in plain)


def _column(values: list[str]) -> str:
    if max(map(len, values)) > 40:
        return r"p{0.4\linewidth}"
    return "r" if all(value == "–" or value[:1] in "+−0123456789" for value in values) else "l"
