"""The adapter from which training goes on (`lora.start`), checked against the study before it is used."""

import json
import logging
from pathlib import Path

import numpy as np
import peft
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from cllora.errors import UsageError, one_line
from cllora.model.adapters import file_name
from cllora.model.libraries import Adapted, Config
from cllora.model.parts import ADAPTER
from cllora.places import expanded

log = logging.getLogger("cllora")

NO_MATTER = frozenset(
    {
        "auto_mapping",
        "base_model_name_or_path",
        "ensure_weight_tying",
        "exclude_modules",
        "inference_mode",
        "layers_pattern",
        "layers_to_transform",
        "lora_dropout",
        "modules_to_save",
        "peft_version",
        "revision",
        "runtime_config",
        "target_modules",
        "task_type",
    }
)
"""Entries of an adapter's config that say nothing of its function beyond what the names of its tensors say."""

ON_THE_BASE = ("pissa", "olora", "corda", "eva", "loftq", "lora_ga", "orthogonal")
"""Ways to begin an adapter that change the base's own weights, without which it means something else."""

ORIGIN = "cllora.json"
"""Beside an adapter that cllora wrote: the fingerprint of the base that it was trained on."""

Tensors = dict[str, NDArray[np.float32]]


def read_start(place: str, model: Adapted, name: str, fingerprint: str) -> Tensors:
    """The tensors of an adapter by their name in its file, float32; `place` is its folder, or that of a run.

    Args:
        model: the PEFT model that is going to hold them.
        name, fingerprint: the base's.

    Raises:
        UsageError: there is no such adapter, or it has another shape or another function than the model's.
    """
    folder = _folder(expanded(place, "lora.start: "))
    config = _config(folder)
    _check_function(config, model.peft_config[ADAPTER], place)
    tensors = _tensors(folder)
    ours = peft.get_peft_model_state_dict(model, save_embedding_layers=False)
    for key, tensor in ours.items():
        if key not in tensors:
            raise UsageError(f"lora.start: {place} has nothing for {key}; {_targets_of(config)}")
        if tensors[key].shape != tuple(tensor.shape):
            raise UsageError(
                f"lora.start: in {place} {key} has the shape {tensors[key].shape}, but in '{name}' "
                f"{tuple(tensor.shape)}; it is another model's adapter"
            )
        if not np.isfinite(tensors[key]).all():
            raise UsageError(f"lora.start: in {place} {key} holds numbers that are not finite; choose another adapter")
    more = sorted(tensors.keys() - ours.keys())
    if more:
        raise UsageError(f"lora.start: {place} has {more[0]} too, which nothing here would take; {_targets_of(config)}")
    _check_ties(tensors, model, place)
    _say_base(folder, config, name, fingerprint)
    return tensors


def _say_base(folder: Path, config: Config, name: str, fingerprint: str) -> None:
    """Warn if the adapter was trained on another base: by its fingerprint where cllora wrote it, else by its name."""
    kept, base = folder / ORIGIN, str(config.base_model_name_or_path or "")
    if kept.is_file():
        other = json.loads(kept.read_text(encoding="utf-8")).get("base_fingerprint") != fingerprint
    else:
        other = bool(base) and Path(base).name != Path(name).name
    if other:
        log.warning("lora.start: the adapter in %s was trained on another base (%s) than %s", folder, base, name)


def _folder(place: Path) -> Path:
    """The folder of the adapter's files: the one named, or `adapter` in it if it is a run's."""
    for folder in (place, place / "adapter"):
        if (folder / "adapter_config.json").is_file():
            return folder
    if place.is_file():
        raise UsageError(f"lora.start: {place} is a file; name the folder that it lies in")
    if not place.is_dir():
        raise UsageError(f"lora.start: there is no folder {place}")
    inside = sorted(file.parent.parent for file in place.glob("*/adapter/adapter_config.json"))
    if inside:
        raise UsageError(f"lora.start: {place} holds several runs; name one of them, such as {inside[0]}")
    several = sorted(file.parent for file in (place / "adapter").glob("*/adapter_config.json"))
    if several:
        raise UsageError(f"lora.start: {place} holds several adapters; name one of them, such as {several[0]}")
    raise UsageError(f"lora.start: {place} holds no adapter: there is no adapter_config.json in it")


def _config(folder: Path) -> Config:
    file = folder / "adapter_config.json"
    try:
        kind = json.loads(file.read_text(encoding="utf-8")).get("peft_type")
        if kind != "LORA":
            raise UsageError(f"lora.start: {folder} is no LoRA adapter (its peft_type is {kind}); choose another")
        return peft.PeftConfig.from_pretrained(str(folder))
    except UsageError:
        raise
    except Exception as error:  # PEFT looks many things up in it
        raise UsageError(f"lora.start: cannot read {file}: {one_line(error)}") from error


def _check_function(theirs: Config, ours: Config, place: str) -> None:
    """Compare all fields that decide the function of an adapter's numbers, with the study's."""
    written, asked = theirs.to_dict(), ours.to_dict()
    begun = str(written.pop("init_lora_weights", True)).lower()
    asked.pop("init_lora_weights", None)
    if begun.startswith(ON_THE_BASE):
        raise UsageError(
            f"lora.start: {place} was begun by {begun}, which changes the base's weights; convert it to plain LoRA "
            "(PEFT: save_pretrained with path_initial_model_for_weight_conversion)"
        )
    rows, wanted = (_rows(fields.pop("trainable_token_indices", None)) for fields in (written, asked))
    if rows != wanted:
        raise UsageError(
            f"lora.start: {place} trains the rows {rows} of the embedding, and lora.embedding_rows is {wanted}; set it "
            "to the same rows in the same order"
        )
    for key in sorted((written.keys() | asked.keys()) - NO_MATTER):
        in_adapter, in_study = written.get(key), asked.get(key)
        if in_adapter == in_study or (not in_adapter and not in_study):
            continue
        if key in ("r", "lora_alpha", "use_rslora", "use_dora"):
            raise UsageError(
                f"lora.start: {place} has {key} {in_adapter}, but lora.{key} is {in_study}; set it to {in_adapter}"
            )
        raise UsageError(
            f"lora.start: {place} has {key} {in_adapter}, which is not supported here; choose another adapter"
        )


def _rows(written: dict[str, list[int]] | list[int] | None) -> list[int]:
    """The trained rows of an embedding, which PEFT names by module or not."""
    lists = list(written.values()) if isinstance(written, dict) else [written or []]
    return [int(row) for rows in lists for row in rows]


def _check_ties(tensors: Tensors, model: Adapted, place: str) -> None:
    """A head that shares its weight with the embedding is in a file as a copy, which has to be one."""
    trained = {file_name(name) for name, parameter in model.named_parameters() if parameter.requires_grad}
    for key in tensors.keys() - trained:
        trained_tensors = (tensors[name] for name in trained)
        if not any(
            np.array_equal(tensors[key], tensor) or np.array_equal(tensors[key], tensor.T) for tensor in trained_tensors
        ):
            raise UsageError(
                f"lora.start: in {place} the head has values of its own ({key}), and in the model it shares those of "
                "the embedding; choose an adapter that was trained with ensure_weight_tying"
            )


def _tensors(folder: Path) -> Tensors:
    file = folder / "adapter_model.safetensors"
    if not file.is_file():
        raise UsageError(f"lora.start: there is no {file.name} in {folder}; save the adapter with safetensors")
    try:
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"lora.start: cannot read {file}: {one_line(error)}") from None
    return {key: tensor.float().numpy() for key, tensor in tensors.items()}


def _targets_of(config: Config) -> str:
    """The fields of the adapter's config that a study has to repeat."""
    fields = {"target_modules": config.target_modules, "layers_to_transform": config.layers_to_transform}
    stated = [f"lora.{key}: {_shown(value)}" for key, value in fields.items() if value is not None]
    beside = [f"and of lora.modules_to_save {_shown(config.modules_to_save)}"] if config.modules_to_save else []
    return f"its config says {', '.join([*stated, *beside])}"


def _shown(value: object) -> str:
    if not isinstance(value, list | tuple | set):
        return str(value)
    return f"[{', '.join(sorted(str(item) for item in value))}]"
