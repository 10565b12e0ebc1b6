"""The registry of presets."""

from collections.abc import Callable

from cllora.registry import Registry
from cllora.spec import Study

presets: Registry[Callable[[], Study]] = Registry("preset")
