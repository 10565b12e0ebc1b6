"""The part of a model that text goes through: all of it, or the language model inside one that sees and hears too."""

from typing import Any

import torch


def text_config(config: Any) -> Any:
    """The config of the text decoder: of a multimodal model the one inside it, else the config itself."""
    return config.get_text_config(decoder=True)


def text_modules(causal: Any) -> dict[str, torch.nn.Module]:
    """The modules of a causal model that text goes through, by their path in it.

    Of a multimodal model these are its decoder, its embedding and its head; towers of other senses are left out: no
    text reaches them, so nothing in them is trained, counted or sent.
    """
    every = dict(causal.named_modules())
    if text_config(causal.config) is causal.config:
        return every
    roots = (causal.get_decoder(), causal.get_input_embeddings(), causal.get_output_embeddings())
    inside = {id(module) for root in roots if root is not None for module in root.modules()}
    return {path: module for path, module in every.items() if id(module) in inside}


def text_parameters(causal: Any) -> dict[str, torch.nn.Parameter]:
    """The parameters that text meets, each once, by their path."""
    met = {id(parameter) for module in text_modules(causal).values() for parameter in module.parameters()}
    return {name: parameter for name, parameter in causal.named_parameters() if id(parameter) in met}


def path_of(model: Any, wanted: torch.nn.Module) -> str:
    """The path of a module in a model."""
    return str(next(path for path, module in model.named_modules() if module is wanted))
