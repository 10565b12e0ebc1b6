"""Whether a number hidden in a long text is found again."""

import pandas as pd

from cllora.analysis import Results
from cllora.errors import counted
from cllora.reports.facts import Change, NotMeasured, Share
from cllora.reports.section import BASE, Heatmap, Section, sections
from cllora.reports.tables import groups

TITLE = "Passkey retrieval"
MOST_CELLS = 5
"""Cells that the page draws; the file has all."""


@sections.register(after="long_context")
def passkey(results: Results) -> Section:
    """A number is hidden in a text at some depth (0: the beginning, 1: the end), and asked for behind it. In each
    square how many were found of how many, over seeds: the greedy continuation is the number, digit for digit. The
    colour grades what counting does not: the mean loss on a token of the number, lower is better; to guess a digit
    costs ln 10 = 2.30 nats."""
    measured = results.measured("passkey")
    if not measured:
        return Section(TITLE, (NotMeasured("retrieval of passkeys", asked=False),))
    table = results.stacked((run, of_run.assign(base=run.base)) for run, of_run in measured)
    # Of a base there is one measurement a seed, whatever was trained on it.
    base = table.drop_duplicates(["base", "seed", "length", "depth"])
    cells = groups(table)
    before = base.assign(picture=BASE, passkeys_found=base["found_before"], key_loss=base["nats_before"])
    after = table.assign(picture=table["cell"].map(results.named), passkeys_found=table["found_after"])
    after = after.assign(key_loss=table["nats_after"])[table["cell"].isin(_drawn(results, cells))]
    square = ["picture", "length", "depth"]
    sums = {"passkeys_found": "sum", "keys": "sum", "key_loss": "mean"}
    squares = pd.concat([before, after]).groupby(square, sort=False, as_index=False).agg(sums)
    squares["text"] = [
        f"{found}/{keys}" for found, keys in zip(squares["passkeys_found"], squares["keys"], strict=True)
    ]
    losses = (float(base["nats_before"].mean()), float(table["nats_after"].mean()))
    left_out = len(cells) - MOST_CELLS
    return Section(
        title=TITLE,
        facts=(
            Change("passkeys_found", _found(base, "before"), _found(table, "after"), _most(results, cells)),
            Change("key_loss", *losses),
        ),
        figures=(Heatmap(squares, "depth", "length", "key_loss", text="text", facet="picture"),),
        table=pd.DataFrame([_row(results.named(cell), rows) for cell, rows in cells.items()]),
        file=table.drop(columns="base"),
        notes=(f"Not drawn: {counted(left_out, 'more cell')}; their numbers are in the file.",) if left_out > 0 else (),
    )


def _drawn(results: Results, cells: dict[str, pd.DataFrame]) -> list[str]:
    """The control, and the cells that found the most or, of those, were nearest to it."""
    ranked = sorted(cells, key=lambda cell: (-cells[cell]["found_after"].sum(), cells[cell]["nats_after"].mean()))
    return list(dict.fromkeys([*results.controls, *ranked]))[:MOST_CELLS]


def _most(results: Results, cells: dict[str, pd.DataFrame]) -> tuple[str, Share] | None:
    """The cell that found the largest share, if there are several and any was found."""
    shares = {cell: _found(rows, "after") for cell, rows in cells.items()}
    best = max(shares, key=lambda cell: shares[cell].n / shares[cell].total)
    return (results.named(best), shares[best]) if len(cells) > 1 and shares[best].n else None


def _row(name: str, rows: pd.DataFrame) -> dict[str, object]:
    longest = rows[rows["length"] == rows["length"].max()]
    return {
        "cell": name,
        "found before": _found(rows, "before"),
        "found": _found(rows, "after"),
        f"found at {int(longest['length'].iloc[0]):,} tokens": _found(longest, "after"),
        "nats_per_key_token_before": rows["nats_before"].mean(),
        "nats_per_key_token": rows["nats_after"].mean(),
        "at the longest": longest["nats_after"].mean(),
    }


def _found(rows: pd.DataFrame, when: str) -> Share:
    return Share(int(rows[f"found_{when}"].sum()), int(rows["keys"].sum()))
