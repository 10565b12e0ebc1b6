"""What the docs say: links lead somewhere, code runs, commands exist and print what is shown, names are explained."""

import doctest
import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("src/**/README.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def blocks(page: Path, language: str) -> list[str]:
    return [text for kind, text in BLOCK.findall(page.read_text()) if kind == language]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as they are made for Markdown on the web."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in LINK.findall(page.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        assert place.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(place), f"{page.name} links to {target}"


SNIPPETS = sorted(path for path in (ROOT / "src").rglob("*.py") if ">>> " in path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", SNIPPETS, ids=lambda path: path.stem)
def test_every_snippet_in_a_docstring_runs(path):
    module = importlib.import_module(".".join(path.relative_to(ROOT / "src").with_suffix("").parts))
    ran = doctest.testmod(module)
    assert ran.attempted
    assert ran.failed == 0


def test_every_python_block_in_extending_runs_and_registers(tmp_path):
    code = "\n".join(blocks(ROOT / "docs/extending.md", "python"))
    check = (
        "\nfrom cllora.runs import trackers\nassert 'lines' in trackers.names()"
        "\nfrom cllora.corpus import features, corpora\n"
        "from cllora.reports import sections\nassert 'best_round' in sections.names()\n"
        "from cllora.probes import probes\nassert 'hardest_texts' in probes.names()\n"
        "assert {'fedmedian'} <= set(strategies.names()) and 'digits' in features.names()\n"
        "assert 'rank_helps' in claims.names()\nassert 'aloud' in engines.names()\n"
        "assert 'sorted_blocks' in partitioners.names() and 'countdown' in corpora.names()\n"
        "assert 'demo_ranks' in presets.names() and len(presets.get('demo_ranks')().cells()) == 24\n"
    )
    subprocess.run([sys.executable, "-c", code + check], check=True, cwd=tmp_path)


def commands() -> list[str]:
    """Every `cllora ...` line in a shell block of any page."""
    lines = [line for page in PAGES for text in blocks(page, "sh") for line in text.splitlines()]
    return sorted({line.split("#")[0].strip() for line in lines if line.startswith("cllora ")})


@pytest.mark.parametrize("line", commands())
def test_every_command_shown_exists_with_its_options(line):
    import typer.main

    from cllora.cli import app
    from cllora.presets import presets

    _, verb, *words = shlex.split(line)
    command = typer.main.get_command(app).commands[verb]
    known = {option for parameter in command.params for option in parameter.opts if option.startswith("-")}
    assert {word for word in words if word.startswith("--")} <= known
    if verb in {"run", "show", "partition"}:
        assert words[0].removesuffix("@embedded") in presets.names() or words[0].endswith(".yaml")


def shown_outputs() -> list[tuple[str, str]]:
    """`$ command` and the output shown below it, from the console blocks of every page."""
    found = []
    for page in PAGES:
        for text in blocks(page, "console"):
            for part in re.split(r"^\$ ", text, flags=re.M)[1:]:
                command, _, output = part.partition("\n")
                found.append((command, output.strip()))
    return found


@pytest.mark.parametrize(("line", "output"), shown_outputs())
def test_every_output_shown_is_what_is_printed(line, output, command, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    name, *words = shlex.split(line)
    assert name == "cllora"
    _, out, err = command(*words)
    assert [line.rstrip() for line in (out + err).strip().splitlines()] == output.splitlines()


def test_every_yaml_study_shown_is_valid():
    import yaml

    from cllora.spec import Study

    studies = [text for page in PAGES for text in blocks(page, "yaml") if "model:" in text]
    assert studies
    for text in studies:
        assert Study.parse(yaml.safe_load(text)).cells()


def test_every_registered_name_is_explained():
    from cllora.catalog import registries

    method = "\n".join(page.read_text() for page in PAGES)
    for kind, registry in registries().items():
        for name in registry.names():
            assert f"`{name}`" in method, f"{kind}: '{name}' is not in the docs"


def test_the_set_of_commands_is_what_the_design_says():
    import typer.main

    from cllora.cli import app

    assert set(typer.main.get_command(app).commands) == {
        "run",
        "plan",
        "partition",
        "inspect",
        "report",
        "list",
        "show",
        "export",
        "generate",
    }
