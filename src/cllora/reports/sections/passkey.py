"""Whether a number hidden in a long text is found again."""

import pandas as pd

from cllora.analysis import Results
from cllora.reports.facts import Change, Share
from cllora.reports.section import BASE, Heatmap, Section, sections
from cllora.reports.tables import groups

MOST = 6
"""Pictures that the page draws: the base's and five cells'."""


@sections.register(title="Passkey retrieval", after="long_context", probe="passkey")
def passkey(results: Results) -> Section:
    """A number is hidden in a text at some depth (0: the beginning, 1: the end), and asked for behind it. In each
    square how many were found of how many, over seeds: the greedy continuation is the number, digit for digit. The
    colour grades what counting does not: the mean loss on a token of the number, lower is better; to guess a digit
    costs ln 10 = 2.30 nats."""
    table = results.stacked((run, keys.assign(base=run.base)) for run, keys in results.measured("passkey"))
    # Of a base there is one measurement a seed, whatever was trained on it.
    base = table.drop_duplicates(["base", "seed", "length", "depth"])
    cells = groups(table)
    squares = _squares(results, base, {cell: cells[cell] for cell in _ranked(results, cells)})
    retrieval = Change(
        "passkeys_found", _share_found(base, "before"), _share_found(table, "after"), _most(results, cells)
    )
    return Section(
        facts=(retrieval, Change("key_loss", float(base["nats_before"].mean()), float(table["nats_after"].mean()))),
        figures=(Heatmap(squares, "depth", "length", "key_loss", text="text", facet="picture", most=MOST),),
        table=pd.DataFrame([_row(results.named(cell), rows) for cell, rows in cells.items()]),
        file=table.drop(columns="base"),
    )


def _ranked(results: Results, cells: dict[str, pd.DataFrame]) -> list[str]:
    """The control, then the cells by how many keys they found and, of equals, how near they were to it."""
    ranked = sorted(cells, key=lambda cell: (-cells[cell]["found_after"].sum(), cells[cell]["nats_after"].mean()))
    return [cell for cell in dict.fromkeys([*results.controls, *ranked]) if cell in cells]


def _squares(results: Results, base: pd.DataFrame, cells: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """A row per picture and square: the base before training, and each of the cells after it."""
    pictures = {BASE: (base, "before"), **{results.named(cell): (rows, "after") for cell, rows in cells.items()}}
    parts = [
        rows.assign(picture=picture, found=rows[f"found_{when}"], key_loss=rows[f"nats_{when}"])
        for picture, (rows, when) in pictures.items()
    ]
    sums = {"found": "sum", "keys": "sum", "key_loss": "mean"}
    squares = pd.concat(parts).groupby(["picture", "length", "depth"], sort=False, as_index=False).agg(sums)
    return squares.assign(text=squares["found"].astype(str) + "/" + squares["keys"].astype(str))


def _most(results: Results, cells: dict[str, pd.DataFrame]) -> tuple[str, Share] | None:
    """The cell that found the largest share, if there are several and any was found."""
    shares = {cell: _share_found(rows, "after") for cell, rows in cells.items()}
    best = max(shares, key=lambda cell: shares[cell].n / shares[cell].total)
    return (results.named(best), shares[best]) if len(cells) > 1 and shares[best].n else None


def _row(name: str, rows: pd.DataFrame) -> dict[str, object]:
    longest = rows[rows["length"] == rows["length"].max()]
    return {
        "cell": name,
        "found before": _share_found(rows, "before"),
        "found": _share_found(rows, "after"),
        f"found at {int(longest['length'].iloc[0]):,} tokens": _share_found(longest, "after"),
        "nats_per_key_token_before": rows["nats_before"].mean(),
        "nats_per_key_token": rows["nats_after"].mean(),
        "at the longest": longest["nats_after"].mean(),
    }


def _share_found(rows: pd.DataFrame, when: str) -> Share:
    return Share(int(rows[f"found_{when}"].sum()), int(rows["keys"].sum()))
