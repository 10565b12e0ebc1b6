"""Run the studies of docs/findings.md at embedded scale, and write their figures and tables into it.

    python scripts/findings.py [--out runs/findings] [--only paper/length ...] [--written]

It takes hours on two cores, and goes on where it stopped. Prose in docs/findings.md is written by hand; what stands
between `<!-- made: NAME -->` and `<!-- end -->` is made here, from docs/findings/NAME.csv, which is made from the runs.
`--written` makes it anew from the CSV files alone.
"""

import argparse
import math
import re
from html import escape
from pathlib import Path

import pandas as pd

import cllora
from cllora.analysis import Results
from cllora.claims import Verdict, verdicts
from cllora.metrics import metrics
from cllora.metrics.formats import capital, megabytes, number, signed
from cllora.presets import find_study
from cllora.spec import PRIMARY

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "findings.md"
TABLES = ROOT / "docs" / "findings"
STUDIES = (
    "paper/length",
    "paper/quantity",
    "quality/dose",
    "features",
    "ablate/rank",
    "ablate/context",
    "ablate/context-s2",
)
LONG = ("longlora", "longlora/rank")
"""The studies whose tables are of long contexts."""
LONG_METRICS = ["position_loss", "last_position_loss", "bits_per_byte", "base_position_loss", "base_last_position_loss"]
LONG_METRICS += ["own_position_loss", "own_last_position_loss", "training_seconds", "time_ratio", "peak_mb"]
LONG_METRICS += ["message_bytes"]
VERDICTS = "-verdicts"
JUDGED = {"paper/length": "abcdhjklm", "paper/quantity": "efghm", "ablate/context": "i", "ablate/context-s2": "i"}
"""The studies that the paper's claims, and the question that it leaves open, are judged by; and by which each."""
TOLD = (PRIMARY, f"{PRIMARY}_per_sample", "matched_change", "excess_spread", "oscillation")
"""The metrics that are told of new runs; of a table on disk those that it has, the first of which is its main one."""
KEPT = ["cell", "metric", "mean", "sd", "seeds", "control", "pairs", "difference", "low", "high", "size", "margin"]
KEPT += ["mean_difference", "above", "most", "p", "p_holm", "p_equivalent_holm", "needed", "needed_most", "answer"]


def measured(folder: Path) -> pd.DataFrame:
    """The summary of the runs in a folder, of the metrics that are told, rounded to the digits that are known."""
    results = cllora.results(folder)
    table = results.summary
    table = table[table["metric"].isin(TOLD)][KEPT]
    order = {cell: i for i, cell in enumerate(results.cells)}
    table = table.sort_values(["cell", "metric"], key=lambda c: c.map({**order, **dict.fromkeys(TOLD)}).fillna(0))
    numbers = table.select_dtypes("float").columns
    return table.assign(**{c: table[c].map(lambda x: float(f"{x:.6g}")) for c in numbers})


def judged(folder: Path, letters: str) -> pd.DataFrame:
    """What the runs in a folder say of the claims with these letters: claim, verdict, effect and why."""
    every = verdicts(cllora.results(folder))
    return pd.DataFrame([judgement(verdict) for verdict in every if verdict.claim.label in letters])


def judgement(verdict: Verdict) -> dict[str, str]:
    show = verdict.claim.unit.signed
    doubt = "" if math.isnan(verdict.low) else f" [{show(verdict.low)}, {show(verdict.high)}]"
    return {
        "claim": f"({verdict.claim.label}) {capital(verdict.claim.title)}",
        "verdict": verdict.kind,
        "effect [95 % interval]": "–" if math.isnan(verdict.effect) else f"{show(verdict.effect)}{doubt}",
        "why": verdict.why or "–",
    }


def write_long_context(name: str, folder: Path) -> None:
    """Write what the runs in a folder say of long contexts: a row per cell, and the numbers of every run."""
    results = cllora.results(folder)
    rows = pd.DataFrame([long_row(results, cell) for cell in results.cells])
    rows.to_csv(TABLES / f"{file_name(name)}.csv", index=False)
    runs = results.metrics[["cell", *results.axes, "seed", *LONG_METRICS]]
    runs.to_csv(TABLES / f"{file_name(name)}-runs.csv", index=False, float_format="%.6g")


def long_row(results: Results, cell: str) -> dict[str, str]:
    """A cell's means over seeds; perplexities are of mean losses."""
    mean = results.averaged[results.averaged["cell"] == cell].mean(numeric_only=True)
    compared = results.contrasts("position_loss").query("cell == @cell")
    pattern = results.first[cell].experiment.model.attention.name
    return {
        "cell": results.named(cell),
        "perplexity (last bin)": perplexities(mean, ""),
        "under its own pattern (last bin)": "–" if pattern == "full" else perplexities(mean, "own_"),
        "bits per byte": number(mean["bits_per_byte"]),
        "loss against control": "control" if cell in results.controls else with_interval(compared),
        "training time of the control's": number(mean["time_ratio"], 2),
        "peak MB": number(mean["peak_mb"], 0),
        "MB a message": megabytes(mean["message_bytes"]),
    }


def perplexities(mean: pd.Series, kind: str) -> str:
    """The perplexity over all positions, and in brackets that of the last bin."""
    whole, last = (math.exp(mean[f"{kind}{bins}position_loss"]) for bins in ("", "last_"))
    return f"{number(whole, 2)} ({number(last, 2)})"


def with_interval(compared: pd.DataFrame) -> str:
    """A cell's difference in nats with its interval over all comparisons, if there is one."""
    if compared.empty:
        return "–"
    row = compared.iloc[0]
    doubt = "" if math.isnan(row["low_holm"]) else f" [{signed(row['low_holm'])}, {signed(row['high_holm'])}]"
    return f"{signed(row['difference'])}{doubt}"


def plain_block(table: pd.DataFrame) -> str:
    """A table of text, as Markdown."""
    rows = [f"| {' | '.join(row)} |" for row in table.astype(str).to_numpy().tolist()]
    return "\n".join([f"| {' | '.join(table.columns)} |", "|" + "---|" * len(table.columns), *rows])


def block(name: str, table: pd.DataFrame) -> str:
    """A study's table as Markdown, with its figure above: one row per cell."""
    by_metric = {metric: rows.set_index("cell") for metric, rows in table.groupby("metric", sort=False)}
    lines = [f"![{alt(table)}](images/findings-{file_name(name)}.svg)", ""]
    lines += [
        f"| cell | seeds | {' | '.join(f'{metrics.metric(name).short}, difference' for name in by_metric)} | answer |"
    ]
    lines += ["|" + "---|" * (3 + len(by_metric))]
    for cell in dict.fromkeys(table["cell"]):
        differences = [difference(rows.loc[cell]) for rows in by_metric.values()]
        row = by_metric[main_of(table)].loc[cell]
        answer = row["answer"] if isinstance(row["answer"], str) else f"control: {row['mean']:.3f}"
        lines.append(f"| {cell} | {int(row['seeds'])} | {' | '.join(differences)} | {answer} |")
    return "\n".join(lines)


def difference(row: pd.Series) -> str:
    """A difference with its 95 % interval, in thousandths of a nat: small ones are what there is."""
    if math.isnan(row["difference"]):
        return ""
    ends = f" [{thousandths(row['low'])}, {thousandths(row['high'])}]" if not math.isnan(row["low"]) else ""
    return f"{thousandths(row['difference'])}{ends}"


def thousandths(nats: float, digits: int = 1) -> str:
    return f"{1e3 * nats:+.{digits}f}".replace("-", "−")


def main_of(table: pd.DataFrame) -> str:
    """The metric that a table's cells are compared by first."""
    return str(table["metric"].iloc[0])


def alt(table: pd.DataFrame) -> str:
    rows = table[(table["metric"] == main_of(table)) & table["difference"].notna()]
    differences = "; ".join(f"{row['cell']} {difference(row)}" for _, row in rows.iterrows())
    title = capital(metrics.metric(main_of(table)).title)
    return f"{title} against the control, in thousandths of a nat per token, with 95 % intervals: {differences}"


STYLE = """<style>text{font:13px system-ui,sans-serif;fill:#222}.grey{fill:#666}.zero{stroke:#888}.margin{fill:#8882}
.clear{stroke:#b3261e;fill:#b3261e}.none{stroke:#1a6b3c;fill:#1a6b3c}.open{stroke:#555;fill:#fff}
@media(prefers-color-scheme:dark){text{fill:#ddd}.grey{fill:#aaa}.clear{stroke:#ff8a80;fill:#ff8a80}
.none{stroke:#7bd6a0;fill:#7bd6a0}.open{stroke:#bbb;fill:#222}}</style>"""
KINDS = {"clear": "differs", "none": "equivalent within the margin", "open": "not enough seeds to tell"}


def forest(table: pd.DataFrame) -> str:
    """The main metric against the control: a point, its interval and the margin of equivalence, as SVG."""
    rows = table[(table["metric"] == main_of(table)) & table["low"].notna()]
    margin = float(rows["margin"].max())
    most = 1.1 * max(margin, float(rows[["low", "high"]].abs().max().max()))
    left, width, high = 280, 440, 26

    def x(value: float) -> float:
        return left + width / 2 * (1 + value / most)

    bottom = high * (len(rows) + 1)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 780 {bottom + 64}" role="img">',
        f"<title>{escape(alt(table))}</title>{STYLE}",
        f'<rect class="margin" x="{x(-margin):.1f}" y="10" height="{bottom - 10}"',
        f'width="{x(margin) - x(-margin):.1f}"/>',
        f'<line class="zero" x1="{x(0)}" x2="{x(0)}" y1="10" y2="{bottom}"/>',
    ]
    for i, (_, row) in enumerate(rows.iterrows()):
        y, kind = high * (i + 1), kind_of(row["answer"])
        hover = f"{row['cell']}: {difference(row)}, {row['answer']}"
        parts += [
            f'<text x="{left - 12}" y="{y + 4}" text-anchor="end">{escape(row["cell"])}</text>',
            f'<g class="{kind}" stroke-width="2"><title>{escape(hover)}</title>',
            f'<line x1="{x(row["low"]):.1f}" x2="{x(row["high"]):.1f}" y1="{y}" y2="{y}"/>',
            f"{mark(kind, x(row['difference']), y)}</g>",
        ]
    ticks = [-most / 1.1, 0.0, most / 1.1]
    parts += [
        f'<text class="grey" x="{x(t):.1f}" y="{bottom + 18}" text-anchor="middle">{label}</text>'
        for t, label in zip(ticks, (thousandths(-most / 1.1, 0), "0", thousandths(most / 1.1, 0)), strict=True)
    ]
    parts += [
        f'<text class="grey" x="{x(0)}" y="{bottom + 36}" text-anchor="middle">{metrics.metric(main_of(table)).title} '
        "minus the control's, thousandths of a nat per token (shaded: margin)</text>"
    ]
    for i, (kind, words) in enumerate(KINDS.items()):
        at = 110 + 150 * i + 90 * (i == 2)
        parts.append(f'<g class="{kind}" stroke-width="2">{mark(kind, at, bottom + 54)}</g>')
        parts.append(f'<text class="grey" x="{at + 12}" y="{bottom + 58}">{words}</text>')
    return "\n".join([*parts, "</svg>", ""])


def kind_of(answer: str) -> str:
    if answer.startswith("differs"):
        return "clear"
    return "none" if answer.startswith(("equivalent", "the same")) else "open"


def mark(kind: str, x: float, y: float) -> str:
    """A diamond, a square, or an open circle: told apart without colours too."""
    if kind == "clear":
        return f'<path d="M{x - 6:.1f} {y} L{x:.1f} {y - 6} L{x + 6:.1f} {y} L{x:.1f} {y + 6} Z"/>'
    if kind == "none":
        return f'<rect x="{x - 5:.1f}" y="{y - 5}" width="10" height="10"/>'
    return f'<circle cx="{x:.1f}" cy="{y}" r="5"/>'


def file_name(name: str) -> str:
    return name.replace("/", "-")


def written(page: str) -> str:
    """The page, each made part as its CSV file has it."""

    def made(mark: re.Match[str]) -> str:
        name = mark[1]
        table = pd.read_csv(TABLES / f"{file_name(name)}.csv", dtype=None if name in STUDIES else str)
        text = block(name, table) if name in STUDIES else plain_block(table)
        return f"<!-- made: {name} -->\n{text}\n<!-- end -->"

    return re.sub(r"<!-- made: (\S+) -->.*?<!-- end -->", made, page, flags=re.S)


def measure_study(name: str, out: Path) -> None:
    """Run one study and write its CSV files."""
    folder = out / file_name(name)
    cllora.run(find_study(f"{name}@embedded"), folder)
    if name in LONG:
        write_long_context(name, folder)
    else:
        measured(folder).to_csv(TABLES / f"{file_name(name)}.csv", index=False)
    if name in JUDGED:
        judged(folder, JUDGED[name]).to_csv(TABLES / f"{file_name(name)}{VERDICTS}.csv", index=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "findings")
    parser.add_argument("--only", nargs="+", default=[*STUDIES, *LONG], choices=[*STUDIES, *LONG])
    parser.add_argument("--written", action="store_true", help="from the CSV files alone")
    arguments = parser.parse_args()
    for name in arguments.only:
        if not arguments.written:
            measure_study(name, arguments.out)
        if name in LONG:
            continue
        table = pd.read_csv(TABLES / f"{file_name(name)}.csv")
        (ROOT / "docs" / "images" / f"findings-{file_name(name)}.svg").write_text(forest(table), encoding="utf-8")
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
