"""Packages that only some studies need, each of which an extra of cllora brings."""

import importlib.util


def installed(package: str) -> bool:
    """Whether a package can be imported; it is not."""
    return importlib.util.find_spec(package) is not None


def how_to_install(name: str, extra: str) -> str:
    """The line that says how to have what is missing."""
    return f"{name} is not installed; pip install 'cllora[{extra}]', or leave it out"
