"""The texts of the pretraining: docstrings of PyPI packages that neither cllora nor its demo uses."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from tqdm import tqdm

from cllora.corpus.docstrings import docstrings, read_docstrings
from cllora.corpus.long_texts import joined
from cllora.corpus.packages import PACKAGES

# Well documented, written by hand, of many fields. Not here: dependencies of cllora, packages that copy the docstrings
# of numpy, pandas, scipy or torch (jax, cupy, dask, ...), and clients generated from an API description.
PRETRAINING_PACKAGES: tuple[str, ...] = (
    "astropy==8.0.2",
    "biopython==1.88",
    "bokeh==3.9.2",
    "celery==5.7.0",
    "cirq-core==1.7.0",
    "dipy==1.12.1",
    "discord.py==2.7.1",
    "distributed==2026.8.0",
    "django==5.2.19",
    "gensim==4.4.0",
    "geopandas==1.2.0",
    "hypothesis==6.170.15",
    "ipython==9.18.1",
    "keras==3.15.1",
    "kornia==0.9.0",
    "matplotlib==3.11.2",
    "mdanalysis==2.11.0",
    "mne==1.13.2",
    "monai==1.6.1",
    "nilearn==0.14.1",
    "nltk==3.10.4",
    "numba==0.68.1",
    "obspy==1.5.1",
    "pennylane==0.45.1",
    "polars==2.1.0",
    "pymc==5.28.5",
    "pyomo==6.10.1",
    "python-telegram-bot==22.8",
    "pytorch-lightning==2.6.6",
    "pyvista==0.49.1",
    "qiskit==2.6.2",
    "scikit-bio==0.7.4",
    "scikit-image==0.26.0",
    "scikit-learn==1.9.1",
    "scrapy==2.19.0",
    "seaborn==0.13.2",
    "sktime==1.2.0",
    "sphinx==9.0.4",
    "sqlalchemy==2.1.9",
    "statsmodels==0.15.0",
    "torch-geometric==2.8.1",
    "tornado==6.6.1",
    "trio==0.35.0",
    "twisted==26.10.0",
    "xarray==2026.9.0",
)
MIN_CHARS = 24
HELD_OUT_OF = 100  # one document of so many is held out
DEMO_SAMPLE_OF = 40  # one document of so many of the demo's packages is measured
PARAGRAPH_CHARS = 80  # a paragraph at least this long that two documents share is a copy, not a coincidence


@dataclass(frozen=True)
class Texts:
    """What is trained on, and the two sets that are measured: own domain, and packages never seen."""

    train: list[str]
    held_out: list[str]
    demo: list[str]
    dropped: dict[str, int]


def load_texts(cache: Path, join: bool = False) -> Texts:
    """Download, read, deduplicate and split. Depends on nothing but the pinned versions (and the demo's).

    With `join`, docstrings are joined in reading order as the corpus `long_texts` joins them. Held out, and measured of
    the demo, are then whole modules; no docstring is in two texts, and one that shares a paragraph is left out of its.
    """
    drawn_by = "module" if join else "text"
    demo, every = list(docstrings(packages=PACKAGES, min_chars=MIN_CHARS)), list(_pretraining_docstrings(cache))
    of_demo = _paragraphs_of(demo)
    clean = [row for row in every if of_demo.isdisjoint(_paragraphs(row["text"]))]
    train = [row for row in clean if _digest(row[drawn_by]) % HELD_OUT_OF]
    of_train = _paragraphs_of(train)
    held_out = [row for row in clean if _digest(row[drawn_by]) % HELD_OUT_OF == 0]
    unseen = [row for row in held_out if of_train.isdisjoint(_paragraphs(row["text"]))]
    measured = [row for row in demo if _digest(row[drawn_by]) % DEMO_SAMPLE_OF == 0]
    dropped = {"shared_with_demo": len(every) - len(clean), "held_out_copies": len(held_out) - len(unseen)}
    if join:
        train = _joined(train, "owner")
        unseen, measured = (_joined(rows, "module", min_chars=1) for rows in (unseen, measured))
    return Texts(_shuffled(train), _shuffled(unseen), _shuffled(measured), dropped)


def _joined(rows: Iterable[dict[str, str]], by: str, **bounds: int) -> list[dict[str, str]]:
    """The texts that the rows of each owner or module are joined to."""
    return [text for _, group in groupby(rows, key=lambda row: row[by]) for text in joined(group, **bounds)]


def _shuffled(rows: Iterable[dict[str, str]]) -> list[str]:
    """The rows' texts, in an order that needs no seed."""
    return sorted((row["text"] for row in rows), key=_digest)


def _pretraining_docstrings(cache: Path) -> Iterator[dict[str, str]]:
    seen: set[str] = set()
    for requirement in tqdm(PRETRAINING_PACKAGES, desc="packages", unit="package"):
        source = _sources(requirement, cache)
        for row in read_docstrings(source, requirement.partition("==")[0]):
            if len(row["text"]) >= MIN_CHARS and row["text"] not in seen:
                seen.add(row["text"])
                yield row


def _sources(requirement: str, cache: Path) -> Path:
    """Return a folder with the package's Python files; its wheel is downloaded once and never installed."""
    folder = cache / "sources" / requirement
    if folder.exists():
        return folder
    wheels = cache / "wheels" / requirement
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    subprocess.run([*pip, "--dest", str(wheels), requirement], check=True)
    (wheel,) = wheels.glob("*.whl")
    partial = folder.with_name(folder.name + ".partial")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(partial, members=[name for name in archive.namelist() if name.endswith(".py")])
    partial.rename(folder)
    return folder


def _paragraphs(text: str) -> set[str]:
    """Return a text's long paragraphs, with white space made even so that indentation hides no copy."""
    even = (" ".join(part.split()) for part in text.split("\n\n"))
    return {part for part in even if len(part) >= PARAGRAPH_CHARS}


def _paragraphs_of(rows: Iterable[dict[str, str]]) -> set[str]:
    return {paragraph for row in rows for paragraph in _paragraphs(row["text"])}


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
