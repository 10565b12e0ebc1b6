"""The part of a model that text goes through: all of it, or the language model inside one that sees and hears too."""

from collections.abc import Iterator
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch

from cllora.model.libraries import Causal, Config

LISTS = torch.nn.ModuleList | torch.nn.ModuleDict


@dataclass(frozen=True)
class _Parts:
    """Paths of a model's modules: `met`, those that text goes through, and `called`, those of them that are called."""

    met: frozenset[str]
    called: frozenset[str]


_PARTS: "WeakKeyDictionary[torch.nn.Module, _Parts]" = WeakKeyDictionary()
"""The parts of each model, found once."""


def text_config(config: Config) -> Config:
    """The config of the text decoder: of a multimodal model the one inside it, else the config itself."""
    return config.get_text_config(decoder=True)


def text_modules(causal: Causal) -> dict[str, torch.nn.Module]:
    """The modules of a causal model that text goes through, by their path in it.

    A short text is let through the model, under the attention that it was loaded with, and what is not called is left
    out: towers of other senses, attention to an encoder that is not there. Nothing in them is trained, counted or sent.
    """
    met = _parts(causal).met
    return {path: module for path, module in causal.named_modules() if path in met}


def called_modules(causal: Causal) -> dict[str, torch.nn.Module]:
    """The modules of a causal model that are themselves called when a text goes through it, by their path in it.

    A layer whose weight is read by its parent, without a call, is not among them: whatever is put around it does
    nothing. Of experts in a list a short text calls some; the others count for what is called in those.
    """
    called = _parts(causal).called
    return {path: module for path, module in causal.named_modules() if path in called}


def text_parameters(causal: Causal) -> dict[str, torch.nn.Parameter]:
    """The parameters that text meets, each once, by their path."""
    met = {id(parameter) for module in text_modules(causal).values() for parameter in module._parameters.values()}
    return {name: parameter for name, parameter in causal.named_parameters() if id(parameter) in met}


def path_of(model: Causal, wanted: torch.nn.Module) -> str:
    """The path of a module in a model."""
    return str(next(path for path, module in model.named_modules() if module is wanted))


def _parts(causal: Causal) -> _Parts:
    if causal not in _PARTS:
        _PARTS[causal] = _parts_of(causal)
    return _PARTS[causal]


def _parts_of(causal: Causal) -> _Parts:
    ids, modules = _called(causal), dict(causal.named_modules())
    uncalled = {path: module for path, module in modules.items() if id(module) not in ids and module._parameters}
    used = _used(causal, list(uncalled.values()))
    outside = [path for path, part in _idle(causal, "", ids) if not used & {id(p) for p in part.parameters()}]
    met = {path for path in modules if not any(f"{path}.".startswith(f"{root}.") for root in outside)}
    # A weight that a text meets without a call was read.
    read = {path for path, module in uncalled.items() if used & {id(p) for p in module._parameters.values()}}
    called = _with_alike(modules, {path for path, module in modules.items() if id(module) in ids}, read)
    return _Parts(frozenset(met), frozenset(met & called))


def _called(causal: Causal) -> set[int]:
    """The ids of the modules that are called when a short text goes through."""
    called: set[int] = set()
    hooks = [module.register_forward_hook(lambda module, *_: called.add(id(module))) for module in causal.modules()]
    try:
        with torch.no_grad():
            _read(causal)
    finally:
        for hook in hooks:
            hook.remove()
    return called


def _with_alike(modules: dict[str, torch.nn.Module], called: set[str], read: set[str]) -> set[str]:
    """The modules that were called, and those in their place in members of a list in which none was."""
    for path in [path for path, module in modules.items() if isinstance(module, LISTS)][::-1]:  # the innermost first
        inside = [other.removeprefix(f"{path}.").partition(".") for other in called if other.startswith(f"{path}.")]
        members = {name for name, _ in modules[path].named_children()} - {name for name, _, _ in inside}
        called |= {f"{path}.{name}{dot}{rest}" for name in members for _, dot, rest in inside} & modules.keys() - read
    return called


def _idle(module: torch.nn.Module, path: str, called: set[int]) -> Iterator[tuple[str, torch.nn.Module]]:
    """The largest parts with weights in which nothing was called; none of a list of which some were (experts)."""
    is_partial = isinstance(module, LISTS) and any(id(inner) in called for inner in module.modules())
    for name, child in module.named_children():
        if any(id(inner) in called for inner in child.modules()):
            yield from _idle(child, f"{path}.{name}" if path else name, called)
        elif not is_partial and next(child.parameters(), None) is not None:
            yield f"{path}.{name}" if path else name, child


def _used(causal: Causal, modules: list[torch.nn.Module]) -> set[int]:
    """The weights of some modules that a text meets all the same: what is not called may be read by its parent."""
    weights = list({id(p): p for module in modules for p in module.parameters() if p.is_floating_point()}.values())
    if not weights:
        return set()
    every = list(causal.parameters())
    asked = [weight.requires_grad for weight in every]
    try:
        for weight in every:
            weight.requires_grad_(False)
        for weight in weights:
            weight.requires_grad_(True)
        with torch.enable_grad():
            logits = _read(causal)
            gradients = (
                torch.autograd.grad(logits.float().sum(), weights, allow_unused=True) if logits.requires_grad else None
            )
    finally:
        for weight, asks in zip(every, asked, strict=True):
            weight.requires_grad_(asks)
    return {id(w) for w, g in zip(weights, gradients, strict=True) if g is not None} if gradients is not None else set()


def _read(causal: Causal) -> torch.Tensor:
    rows = len(causal.get_input_embeddings().weight)
    text = torch.arange(4, 10, device=causal.device)[None] % rows
    logits: torch.Tensor = causal(input_ids=text, use_cache=False).logits
    return logits
