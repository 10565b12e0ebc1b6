"""The target modules of LoRA and the modules trained whole: a study's names, held to the model's.

PEFT leaves out in silence what it does not find, as long as it finds something. Here every name that a study gives has
to be of a module that text goes through.
"""

import logging
import re
from collections.abc import Iterable, Iterator, Mapping

import torch
from peft.tuners.lora import LoraLayer
from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
from transformers.pytorch_utils import Conv1D

from cllora.errors import UsageError
from cllora.model.fused import without_experts
from cllora.model.libraries import Adapted, Causal, Entries
from cllora.model.text import called_modules, path_of, text_config, text_modules
from cllora.registry import guess
from cllora.spec import LoraSpec

log = logging.getLogger("cllora")

ALL_LINEAR = "all-linear"
ATTENTION = re.compile(r"attention|attn|mla$")
"""The names of the classes of attention, in small letters."""
Modules = Mapping[str, torch.nn.Module]


def target_fields(causal: Causal, lora: LoraSpec, name: str) -> Entries:
    """The fields of PEFT's `LoraConfig` that say which modules have LoRA.

    Raises:
        UsageError: a name, a regex or a layer that the text part of the model has not.
    """
    inside, asked = text_modules(causal), lora.target_modules
    targets = _targets(causal, inside, asked, name)
    matched: Modules = {path: module for path, module in inside.items() if matches(path, targets)}
    outside = [path for path, _ in causal.named_modules() if path not in inside and matches(path, targets)]
    excluded = _roots(outside, inside)
    if asked is None or _is_all_linear(asked):
        # A name that was not chosen by the user may be that of other modules, too.
        taken = set(_linear(causal, inside))
        excluded += [re.escape(path) for path in matched if path not in taken]
        matched = {path: module for path, module in matched.items() if path in taken}
    fields: Entries = {"target_modules": targets}
    if lora.layers_to_transform is not None:
        matched = _in_layers(matched, targets, lora.layers_to_transform, name)
        fields["layers_to_transform"] = list(lora.layers_to_transform)
    if excluded:
        fields["exclude_modules"] = "|".join(excluded)
    _check_supported(causal, matched, name)
    fields["fan_in_fan_out"] = any(isinstance(module, Conv1D) for module in matched.values())
    for saved in saved_modules(causal, lora, name):
        if any(f"{path}.".startswith(f"{saved}.") for path in matched):
            raise UsageError(
                f"lora.modules_to_save: {saved} has LoRA too; leave it out there, or in lora.target_modules"
            )
    return fields


def _check_supported(causal: Causal, matched: Modules, name: str) -> None:
    """Refuse LoRA on what is no linear layer, and where it would do nothing."""
    called = called_modules(causal)
    for path, module in matched.items():
        if not _is_linear(module) and not isinstance(module, torch.nn.Embedding):
            raise UsageError(
                f"lora.target_modules: LoRA is supported on linear layers only, and {path or 'the whole'} of '{name}' "
                f"is a {type(module).__name__}; leave it out"
            )
        if path not in called:
            raise UsageError(
                f"lora.target_modules: LoRA would do nothing on {path} of '{name}', which is never called: the module "
                "that it is in reads its weight; leave it out, or name it in lora.modules_to_save"
            )


def saved_modules(causal: Causal, lora: LoraSpec, name: str) -> list[str]:
    """The paths of the modules that `lora.modules_to_save` names.

    Raises:
        UsageError: there is no such module with weights, or it is one that `lora.train` is for.
    """
    inside = text_modules(causal)
    paths_saved: list[str] = []
    for entry in lora.modules_to_save or ():
        paths = [path for path, module in inside.items() if _has_name(path, entry) and _has_weights(module)]
        if not paths:
            names = _last_names(path for path, module in inside.items() if path and _has_weights(module))
            raise UsageError(
                f"lora.modules_to_save: '{name}' has no module with weights called '{entry}'; {guess(entry, names)}"
            )
        shared = causal.get_output_embeddings().weight is causal.get_input_embeddings().weight
        both = {path_of(causal, causal.get_input_embeddings()), path_of(causal, causal.get_output_embeddings())}
        if shared and both & set(paths):
            raise UsageError(
                f"lora.modules_to_save: in '{name}' {entry} shares its weight with the "
                f"{'head' if path_of(causal, causal.get_input_embeddings()) in paths else 'embedding'}; "
                "to train both as one, set lora.train to lora+embeddings"
            )
        if lora.embedding_rows is not None or lora.embedding_r is not None:
            embedding = path_of(causal, causal.get_input_embeddings())
            if any(f"{embedding}.".startswith(f"{path}.") for path in paths):
                raise UsageError(
                    f"lora.modules_to_save: {entry} holds the embedding, of which lora trains a part already"
                )
        paths_saved += paths
    for path in paths_saved:
        if any(path.startswith(f"{other}.") for other in paths_saved):
            raise UsageError(f"lora.modules_to_save: {path} lies in another module that is trained whole; leave it out")
    return paths_saved


def lora_targets(model: Adapted) -> tuple[str, ...]:
    """The last names of the modules of a PEFT model that have LoRA, each once, in the order of the model."""
    return tuple(_last_names(path for path, module in model.named_modules() if isinstance(module, LoraLayer)))


def matches(path: str, targets: list[str] | str) -> bool:
    """Whether PEFT takes a module at this path for a target: one of the names, or of a regex the whole path."""
    if isinstance(targets, str):
        return re.fullmatch(targets, path) is not None
    return any(_has_name(path, entry) for entry in targets)


def _targets(causal: Causal, inside: Modules, asked: tuple[str, ...] | str | None, name: str) -> list[str] | str:
    """The names or the regex that PEFT is given."""
    if asked is None:
        return _usual(causal, inside, name)
    if _is_all_linear(asked):
        return _all_linear(causal, inside, name)
    if isinstance(asked, str) and any(_has_name(path, asked) for path in inside):
        return [asked]
    if isinstance(asked, str):
        return _regex(causal, inside, asked, name)
    for entry in asked:
        if _is_all_linear(entry):
            raise UsageError(f"lora.target_modules: {ALL_LINEAR} stands alone; write target_modules: {ALL_LINEAR}")
        if not any(_has_name(path, entry) for path in inside):
            raise UsageError(_none_named(causal, inside, entry, name))
    return list(asked)


def _is_all_linear(asked: tuple[str, ...] | str) -> bool:
    return isinstance(asked, str) and asked.lower() == ALL_LINEAR


def _all_linear(causal: Causal, inside: Modules, name: str) -> list[str]:
    """The names of all linear layers but the head, those that are never called, and what PEFT takes for experts."""
    head, called = causal.get_output_embeddings(), called_modules(causal)
    read = [path for path, layer in inside.items() if _is_linear(layer) and layer is not head and path not in called]
    if read:
        log.warning(
            "lora.target_modules: in '%s' %s is never called, but its weight read, so that LoRA would do nothing "
            "there; all-linear leaves it out",
            name,
            ", ".join(_last_names(read)),
        )
    return without_experts(causal, sorted(_last_names(_linear(causal, inside))), name, ALL_LINEAR)


def _usual(causal: Causal, inside: Modules, name: str) -> list[str]:
    """PEFT's default for the family; where it has none, all linear layers of attention."""
    families = dict.fromkeys([causal.config.model_type, text_config(causal.config).model_type])
    every = _linear(causal, inside)
    for family in families:
        usual = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.get(family) or ()
        present = [entry for entry in usual if any(_has_name(path, entry) for path in every)]
        if present := without_experts(causal, present, name, "the default"):
            return present
    attending = [path for path, module in inside.items() if ATTENTION.search(type(module).__name__.lower())]
    linear = [path for path in every if any(path.startswith(f"{prefix}.") for prefix in attending)]
    names = without_experts(causal, _last_names(linear), name, "the default")
    if not names:
        raise UsageError(
            f"lora.target_modules: PEFT knows no default for '{name}' ({' / '.join(families)}), and no linear layers "
            f"of attention were found; name the modules, such as {', '.join(_last_names(every)[:4])}"
        )
    log.warning(
        "lora.target_modules: PEFT knows no default for '%s' (%s); all linear layers of attention get LoRA: %s",
        name,
        " / ".join(families),
        ", ".join(names),
    )
    return names


def _regex(causal: Causal, inside: Modules, asked: str, name: str) -> str:
    try:
        matches = any(re.fullmatch(asked, path) for path in inside)
    except re.error as error:
        raise UsageError(f"lora.target_modules: '{asked}' is no regex: {error}") from None
    if matches:
        for word, alone in _alternatives(asked):
            if not any(re.fullmatch(alone, path) for path in inside):
                names = _last_names(_linear(causal, inside))
                raise UsageError(
                    f"lora.target_modules: in '{name}' the regex matches nothing by its '{word}'; {guess(word, names)}"
                )
        matched = [path for path in inside if re.fullmatch(asked, path)]
        matched_names = ", ".join(_last_names(matched))
        log.info("lora.target_modules: the regex matches %s in %s places", matched_names, f"{len(matched):,}")
        return asked
    if re.fullmatch(r"[\w.]+", asked):
        raise UsageError(_none_named(causal, inside, asked, name))
    raise UsageError(
        f"lora.target_modules: the regex '{asked}' is not the whole path of any module of '{name}'; "
        f"a path is such as {next(iter(_linear(causal, inside)), '')}; several names go into a list: [q_proj, v_proj]"
    )


def _alternatives(asked: str) -> Iterator[tuple[str, str]]:
    """Each name of a regex that is one of several in brackets, and the regex with that alone."""
    for group in re.finditer(r"\((?:\?:)?(\w+(?:\|\w+)+)\)", asked):
        for word in group[1].split("|"):
            yield word, f"{asked[: group.start(1)]}{word}{asked[group.end(1) :]}"


def _in_layers(matched: Modules, targets: list[str] | str, layers: tuple[int, ...], name: str) -> Modules:
    """The matched modules that are in the layers asked for, each of which has to have one."""
    if isinstance(targets, str):
        raise UsageError("lora.layers_to_transform goes with names of modules; say the layers in the regex itself")
    layer_of = {path: _layer(path) for path in matched}
    matched_layers = sorted({layer for layer in layer_of.values() if layer is not None})
    for layer in layers:
        if layer not in matched_layers:
            range_of_layers = f"{matched_layers[0]} to {matched_layers[-1]}" if matched_layers else "none"
            raise UsageError(
                f"lora.layers_to_transform: '{name}' has no layer {layer} with any of {', '.join(targets)}; "
                f"layers with them: {range_of_layers}"
            )
    inside = {path: module for path, module in matched.items() if layer_of[path] in layers}
    for entry in targets:
        if not any(_has_name(path, entry) for path in inside):
            raise UsageError(
                f"lora.target_modules: in the layers asked for '{name}' has no module called '{entry}'; leave it out, "
                "or change lora.layers_to_transform"
            )
    return inside


def _layer(path: str) -> int | None:
    """The number of the layer that a module is in, as PEFT counts it: the first number in its path."""
    numbered = re.match(r".*?\.[^.]*\.(\d+)\.", path)
    return None if numbered is None else int(numbered[1])


def _linear(causal: Causal, inside: Modules) -> list[str]:
    """The paths of the linear layers that are called, without the head."""
    head, called = causal.get_output_embeddings(), called_modules(causal)
    return [path for path, module in inside.items() if _is_linear(module) and module is not head and path in called]


def _is_linear(module: torch.nn.Module) -> bool:
    """Whether it is a linear layer and does nothing else: routers of experts are often a kind of linear layer."""
    return type(module).forward in (torch.nn.Linear.forward, Conv1D.forward)


def _none_named(causal: Causal, inside: Modules, entry: str, name: str) -> str:
    elsewhere = any(_has_name(path, entry) for path, _ in causal.named_modules())
    where = "no module that text goes through is" if elsewhere else "no module is"
    names = _last_names(_linear(causal, inside))
    return f"lora.target_modules: in '{name}' {where} called '{entry}'; {guess(entry, names)}"


def _has_name(path: str, entry: str) -> bool:
    return path == entry or path.endswith(f".{entry}")


def _has_weights(module: torch.nn.Module) -> bool:
    return next(module.parameters(), None) is not None


def _last_names(paths: Iterable[str]) -> list[str]:
    """The last names of paths, each once, in the order of the model; layers' numbers are no names."""
    names = dict.fromkeys(path.rpartition(".")[2] for path in paths)
    return [name for name in names if not name.isdigit()]


def _roots(outside: Iterable[str], inside: Modules) -> list[str]:
    """Regexes for modules that text does not go through, by the parts of the model that they are in."""
    roots = set()
    for path in outside:
        names = path.split(".")
        starts = (".".join(names[:count]) for count in range(1, len(names) + 1))
        roots.add(
            next(
                start
                for start in starts
                if not any(f"{path_inside}.".startswith(f"{start}.") for path_inside in inside)
            )
        )
    return [rf"{re.escape(root)}(\..*)?" for root in sorted(roots)]
