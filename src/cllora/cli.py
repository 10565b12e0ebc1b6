"""The command line: results on stdout, progress on stderr, one clear line and exit code 2 for a user's mistake."""

import logging
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cllora.door import ended
from cllora.errors import UsageError, say, visible
from cllora.places import expanded
from cllora.printing import print_json, print_wide

if TYPE_CHECKING:
    from cllora.spec import Study

app = typer.Typer(
    help="Measure how the length, quantity and quality of clients' texts change federated LoRA fine-tuning.",
    add_completion=False,
    pretty_exceptions_enable=False,
)

StudyName = Annotated[
    str, typer.Argument(metavar="STUDY", help="A preset's name (see `cllora list presets`) or a YAML file.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="FIELD=VALUE",
        help="Change a field, such as model.context=256, or grid.lora.r=[2,4] (an axis).",
    ),
]
Load = Annotated[
    list[Path] | None, typer.Option("--load", metavar="FILE", help="Your own Python file of presets, features, ...")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@app.command()
def run(
    study: StudyName,
    set_: Settings = None,
    load: Load = None,
    out: Annotated[Path | None, typer.Option(help="The folder for the runs; runs/NAME by default.")] = None,
    as_json: Json = False,
) -> None:
    """Run a study and draw its report. Run again, it goes on where it stopped, and tries again what failed."""
    from cllora.progress import study_progress
    from cllora.runs import CellsFailed
    from cllora.runs import run as run_study

    asked_study = _find(study, set_, load)
    try:
        with study_progress() as (on_progress, on_corpus):
            folder = run_study(asked_study, _at(out), on_progress=on_progress, on_corpus=on_corpus)
    except CellsFailed as failed:
        if not failed.all:
            _report(failed.folder, None, as_json)
        raise
    except KeyboardInterrupt as stop:
        raise type(stop)("the same command goes on after the last whole round") from None
    _report(folder, None, as_json)


@app.command()
def partition(study: StudyName, set_: Settings = None, load: Load = None, as_json: Json = False) -> None:
    """Show who would get which texts, and how skewed that really is. Nothing is trained."""
    from cllora.progress import study_progress
    from cllora.reports import partition_view
    from cllora.runs.partitions import partitions_of
    from cllora.runs.study import check
    from cllora.types import to_plain

    asked_study = _find(study, set_, load)
    check(asked_study)
    cells = [cell for cell in asked_study.cells() if cell.experiment.seed == asked_study.seeds[0]]
    with study_progress() as (_, on_read):
        dealt = partitions_of([cell.experiment for cell in cells], on_read)
    if as_json:
        print_json({cell.name: to_plain(p.heterogeneity) for cell, p in zip(cells, dealt, strict=True)})
        return
    for cell, partition_of_cell in zip(cells, dealt, strict=True):
        print_wide(f"\n{visible(cell.name)}")
        print_wide(partition_view(partition_of_cell, cell.experiment))


@app.command()
def plan(
    study: StudyName,
    set_: Settings = None,
    load: Load = None,
    out: Annotated[Path | None, typer.Option(help="The folder for the runs; runs/NAME by default.")] = None,
    like: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A folder of runs that are like the study's, in place of a pilot."),
    ] = None,
    pilot: Annotated[int, typer.Option(metavar="N", help="Seeds of the pilot, which are none of the study's.")] = 4,
    as_json: Json = False,
) -> None:
    """Say what a study can decide and what it costs, from a pilot, and register that before it is run."""
    from cllora.progress import study_progress
    from cllora.reports import plan_rows, plan_view
    from cllora.runs.planning import plan as plan_study
    from cllora.runs.planning import register

    asked_study = _find(study, set_, load)
    folder = _at(out) or Path("runs") / asked_study.name
    similar = _at(like)
    with study_progress() as (on_progress, on_corpus):
        made = plan_study(asked_study, folder, like=similar, pilot=pilot, on_progress=on_progress, on_corpus=on_corpus)
    written = register(asked_study, folder, made.registration)
    if as_json:
        print_json({"study": str(written), **plan_rows(made)})
    else:
        print_wide(plan_view(made))
        print_wide(f"Registered in {visible(str(written))}; `cllora run` with the same --set, --load, --out runs it.")


@app.command()
def inspect(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="A file per owner, or files with --column.")],
    column: Annotated[str | None, typer.Option(metavar="OWNER", help="The column that says whose a text is.")] = None,
    text: Annotated[str, typer.Option(metavar="COLUMN", help="The column of the text, or a template.")] = "text",
    by: Annotated[
        list[str] | None, typer.Option(metavar="FEATURE", help="Compare owners by this feature too; repeatable.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(metavar="DIR", help="A folder of runs, to say what was measured at such an alpha.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say how unlike real owners are, and which alpha that corresponds to. No model is needed."""
    from cllora.analysis import curves_of
    from cllora.progress import study_progress
    from cllora.reports import inspection_view, sentences
    from cllora.runs.inspect import features_of
    from cllora.runs.inspect import inspect as look

    chosen = features_of(by or [])
    curves = [] if against is None else curves_of(expanded(against))
    classes = {"classes": curves[0].classes} if curves else {}
    with study_progress() as (_, on_read):
        owners = look(
            [expanded(file) for file in files], column=column, text=text, by=chosen, on_read=on_read, **classes
        )
    findings = sentences(owners, curves)
    if as_json:
        print_json({**owners.to_mapping(), "sentences": findings, "said": findings})  # `said` is of 0.1.0
    else:
        print_wide(inspection_view(owners, findings))


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Any folder of runs.")],
    out: Annotated[Path | None, typer.Option(help="The page to write; DIR/report.html by default.")] = None,
    latex: Annotated[bool, typer.Option("--latex", help="Write the tables for LaTeX (booktabs) too.")] = False,
    load: Load = None,
    as_json: Json = False,
) -> None:
    """Write one self-contained HTML page, and CSV tables, from a folder of runs."""
    from cllora.registry import load_plugins

    load_plugins(str(file) for file in load or ())
    _report(expanded(folder), _at(out), as_json, latex=latex)


@app.command(name="list")
def list_(
    kind: Annotated[
        str | None,
        typer.Argument(
            help="corpora, features, corruptions, partitioners, patterns, strategies, probes, presets, metrics, "
            "claims, sections, trackers or engines"
        ),
    ] = None,
    load: Load = None,
    as_json: Json = False,
) -> None:
    """List what a study can name, with its options."""
    from cllora.catalog import listing, named_today, options_of, registries
    from cllora.registry import guess, load_plugins

    load_plugins(str(file) for file in load or ())
    every, kind = registries(), named_today(kind)
    if kind is not None and kind not in every:
        raise UsageError(f"there is no list of '{kind}'; {guess(kind, every)}")
    chosen = {kind: every[kind]} if kind else every
    if as_json:
        print_json(
            {k: {n: {"help": r.help(n), "options": options_of(r, n)} for n in r.names()} for k, r in chosen.items()}
        )
        return
    for title, registry in chosen.items():
        print_wide(listing(title, registry))


@app.command()
def show(study: StudyName, set_: Settings = None, load: Load = None, as_json: Json = False) -> None:
    """Print the full study as YAML: a starting point for one's own."""
    from cllora.runs.study import check

    asked_study = _find(study, set_, load)
    check(asked_study)
    if as_json:
        print_json(asked_study.to_mapping())
    else:
        text = asked_study.to_yaml()
        try:
            text.encode(sys.stdout.encoding or "utf-8")
        except UnicodeEncodeError:
            text = asked_study.to_yaml(ascii_only=True)
        sys.stdout.write(text)


@app.command()
def export(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of one run.")],
    out: Annotated[Path, typer.Option(help="The folder to write.")] = Path("exported"),
    merged: Annotated[bool, typer.Option("--merged", help="Write base and adapter as one model.")] = False,
    model: Annotated[str | None, typer.Option(help="Which of several global models, such as global/1.")] = None,
    as_json: Json = False,
) -> None:
    """Write a run's adapter in PEFT's format, or base and adapter merged into one model."""
    from cllora.runs.export import export_run

    written = export_run(expanded(run_folder), expanded(out), merged=merged, model=model)
    if as_json:
        print_json({"folder": str(written)})
    else:
        print_wide(f"Wrote {visible(str(written))}")


@app.command()
def generate(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of one finished run.")],
    prompt: Annotated[str, typer.Argument(help="What the models go on from; - reads it from stdin.")],
    client: Annotated[str | None, typer.Option(metavar="K[,K]", help="Clients, or none; one by default.")] = None,
    max_new_tokens: Annotated[int, typer.Option(metavar="N", help="Tokens to write, at most.")] = 64,
    temperature: Annotated[float, typer.Option(metavar="T", help="0: the likeliest token each time.")] = 0.0,
    seed: Annotated[int, typer.Option(metavar="S", help="Of the draws at a temperature.")] = 0,
    chat: Annotated[bool | None, typer.Option("--chat/--text", help="A user's turn; by default as trained.")] = None,
    as_json: Json = False,
) -> None:
    """Generate text after a prompt with the base, the global model and a client's own."""
    from cllora.progress import work_progress
    from cllora.runs import generate as writing

    text, passages = sys.stdin.read().removesuffix("\n") if prompt == "-" else prompt, []
    asked = writing.Asked(text, writing.client_numbers(client), max_new_tokens, temperature, seed, chat)
    with work_progress() as on_work:
        for passage in writing.generate(run_folder, asked, on_work):
            passages.append(asdict(passage))
            sys.stdout.write("" if as_json else passage.to_text())
    if as_json:
        print_json({"run": str(run_folder), **asdict(asked), "models": passages})


def _find(study: str, settings: list[str] | None, load: list[Path] | None) -> "Study":
    from cllora.presets import find_study

    return find_study(study, settings or [], [str(file) for file in load or ()])


def _report(folder: Path, out: Path | None, as_json: bool, latex: bool = False) -> None:
    """Write the page; print the results and where it is."""
    from cllora.analysis import results
    from cllora.reports import report as draw
    from cllora.reports import result_rows, results_table, verdict_rows

    page = draw(folder, out, with_latex=latex)
    runs = results(folder)
    if as_json:
        rows = {"results": result_rows(runs), "verdicts": verdict_rows(runs)}
        print_json({"folder": str(folder), "report": str(page), **rows})
    else:
        print_wide(results_table(runs))
        print_wide(f"Report: {visible(str(page))}")


def _at(place: Path | None) -> Path | None:
    return None if place is None else expanded(place)


class _Notices(logging.Handler):
    """The library's notices as lines on stderr; it is looked up each time, since progress bars stand in for it."""

    def emit(self, record: logging.LogRecord) -> None:
        say(record.getMessage())


def main() -> None:
    """The `cllora` command."""
    log = logging.getLogger("cllora")
    log.handlers = [_Notices()]
    log.setLevel(logging.INFO)
    sys.exit(ended(app, sys.argv[1:]))
