"""The documentation as a site: `make docs` writes it into build/docs. The README is its home page."""

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))

project = "cllora"
author = "the cllora authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
html_theme = "furo"
html_title = "cllora"
exclude_patterns = ["findings/**"]
root_doc = "index"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_type_aliases = {"Vector": "Vector", "Arrays": "Arrays", "Ids": "Ids"}
copybutton_prompt_text = "$ "
suppress_warnings = ["myst.header", "misc.highlighting_failure"]

LINK = re.compile(r"\[([^\]!]*)\]\((?!https?://|#)([^)\s]+)\)")


def setup(app: Sphinx) -> None:
    """Let every page be read as the site can show it."""
    app.connect("source-read", _as_on_site)


def _as_on_site(app: Sphinx, page: str, source: list[str]) -> None:
    """Put the README in place of `index`, above the contents; make links that leave the site plain words."""
    home = page == "index"
    text = f"{(ROOT / 'README.md').read_text(encoding='utf-8')}\n\n{source[0]}" if home else source[0]
    place = ROOT if home else ROOT / "docs"
    source[0] = LINK.sub(lambda link: _link(link, place), text)


def _link(link: re.Match[str], place: Path) -> str:
    path, mark, anchor = link[2].partition("#")
    target = (place / path).resolve()
    if not target.is_relative_to(ROOT / "docs"):
        return link[1]
    return f"[{link[1]}]({target.relative_to(ROOT / 'docs')}{mark}{anchor})"
