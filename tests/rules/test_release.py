"""What a release is: one version, told by the CHANGELOG, and an archive that holds what it needs."""

import re
import tomllib
from pathlib import Path

import cllora

ROOT = Path(__file__).parents[2]


def test_the_changelog_tells_the_version_and_when_it_was_made():
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    released = [heading for heading in headings if heading != "Unreleased"]
    assert headings.index(released[0]) < 2
    assert re.fullmatch(rf"{re.escape(cllora.__version__)} \(\d{{4}}-\d\d-\d\d\)", released[0])
    assert len(set(released)) == len(released)


def test_the_version_stands_in_one_place():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["dynamic"] == ["version"]
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "cllora.__version__"}
    assert "version:" not in (ROOT / "CITATION.cff").read_text(encoding="utf-8").replace("cff-version:", "")


def test_the_source_archive_is_told_to_hold_all_that_is_here():
    """`make wheel` builds the wheel from it; who has the archive alone can run the suite, too."""
    manifest = (ROOT / "MANIFEST.in").read_text(encoding="utf-8").split()
    skipped = {".git", ".gitignore", "LICENSE", "MANIFEST.in", "README.md", "pyproject.toml", "src"}  # always there
    made = {".venv", "build", "dist", "runs", "exported", "PKG-INFO", "setup.cfg"}
    here = {path.name for path in ROOT.iterdir() if not re.search(r"_cache$|\.egg-info$|^\.hypothesis$", path.name)}
    assert here - skipped - made <= set(manifest)
