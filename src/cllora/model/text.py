"""The part of a model that text goes through: all of it, or the language model inside one that sees and hears too."""

from collections.abc import Iterator
from weakref import WeakKeyDictionary

import torch

from cllora.model.libraries import Causal, Config

_PARTS: "WeakKeyDictionary[torch.nn.Module, frozenset[str]]" = WeakKeyDictionary()
"""The paths of each model's modules that text goes through, found once."""


def text_config(config: Config) -> Config:
    """The config of the text decoder: of a multimodal model the one inside it, else the config itself."""
    return config.get_text_config(decoder=True)


def text_modules(causal: Causal) -> dict[str, torch.nn.Module]:
    """The modules of a causal model that text goes through, by their path in it.

    A short text is let through the model, under the attention that it was loaded with, and what is not called is left
    out: towers of other senses, attention to an encoder that is not there. Nothing in them is trained, counted or sent.
    """
    if causal not in _PARTS:
        _PARTS[causal] = frozenset(_met(causal))
    return {path: module for path, module in causal.named_modules() if path in _PARTS[causal]}


def text_parameters(causal: Causal) -> dict[str, torch.nn.Parameter]:
    """The parameters that text meets, each once, by their path."""
    met = {id(parameter) for module in text_modules(causal).values() for parameter in module._parameters.values()}
    return {name: parameter for name, parameter in causal.named_parameters() if id(parameter) in met}


def path_of(model: Causal, wanted: torch.nn.Module) -> str:
    """The path of a module in a model."""
    return str(next(path for path, module in model.named_modules() if module is wanted))


def _met(causal: Causal) -> Iterator[str]:
    called: set[int] = set()
    hooks = [module.register_forward_hook(lambda it, *_: called.add(id(it))) for module in causal.modules()]
    try:
        with torch.no_grad():
            _read(causal)
    finally:
        for hook in hooks:
            hook.remove()
    idle = list(_idle(causal, "", called))
    used = _used(causal, [module for _, module in idle])
    outside = [path for path, module in idle if not used & {id(p) for p in module.parameters()}]
    for path, _ in causal.named_modules():
        if not any(path == each or path.startswith(f"{each}.") for each in outside):
            yield path


def _idle(module: torch.nn.Module, path: str, called: set[int]) -> Iterator[tuple[str, torch.nn.Module]]:
    """The largest parts with weights in which nothing was called; none of a list of which some were (experts)."""
    of_many = isinstance(module, torch.nn.ModuleList | torch.nn.ModuleDict)
    some = of_many and any(id(inner) in called for inner in module.modules())
    for name, child in module.named_children():
        if any(id(inner) in called for inner in child.modules()):
            yield from _idle(child, f"{path}.{name}" if path else name, called)
        elif not some and next(child.parameters(), None) is not None:
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
            found = (
                torch.autograd.grad(logits.float().sum(), weights, allow_unused=True) if logits.requires_grad else None
            )
    finally:
        for weight, asks in zip(every, asked, strict=True):
            weight.requires_grad_(asks)
    return {id(w) for w, g in zip(weights, found, strict=True) if g is not None} if found is not None else set()


def _read(causal: Causal) -> torch.Tensor:
    rows = len(causal.get_input_embeddings().weight)
    text = torch.arange(4, 10, device=causal.device)[None] % rows
    logits: torch.Tensor = causal(input_ids=text, use_cache=False).logits
    return logits
