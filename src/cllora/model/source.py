"""Where a base model comes from: the package, a folder, or a hub."""

from pathlib import Path

from cllora.errors import UsageError
from cllora.places import expanded
from cllora.registry import guess

BASES = ("embedded-64", "embedded-128", "embedded", "embedded-rotary")
"""The small pretrained bases that ship inside the package, each with its README.md: three of the OPT architecture,
narrowest first, and one with rotary positions, for long contexts."""

EMBEDDED = Path(__file__).parent / "embedded"
"""The folder of the first, whose tokenizer is that of all."""


def where(name: str) -> str:
    """What transformers' `from_pretrained` takes for a model's name in a study.

    Raises:
        UsageError: it is a path, and there is no such folder.
    """
    return str(EMBEDDED.with_name(name)) if name in BASES else _folder_or_hub(name)


def where_tokenizer(name: str) -> str:
    """The same for the model's tokenizer: the bases of the package share one."""
    return str(EMBEDDED) if name in BASES else _folder_or_hub(name)


def or_shipped(name: str) -> str:
    """What an error about a name adds if one of the package's bases may have been meant: it is no folder, no owner/name
    of a hub, and not one of them."""
    if name in BASES or "/" in name or Path(name).exists():
        return ""
    return f" (of the bases that come with cllora: {guess(name, BASES)})"


def _folder_or_hub(name: str) -> str:
    is_path = name.startswith(("/", ".", "~")) or name.count("/") > 1
    if is_path and not expanded(name, "model.name: ").is_dir():
        raise UsageError(f"model.name: there is no folder {name}")
    return str(expanded(name)) if is_path else name
