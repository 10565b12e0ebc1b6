"""GGUF files as bases: dequantised once into the cache, as a plain model folder that transformers reads.

What a file says of its model is taken over by name. What is not known here, and could change the numbers, is refused.
"""

import functools
import hashlib
import importlib.metadata
import importlib.util
import io
import json
import logging
import math
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

from cllora.corpus.cache import cache_errors, new_folder, publish
from cllora.errors import UsageError, one_line
from cllora.model.gguf_families import FAMILIES, ROPE_FACTORS, config_of
from cllora.places import cache_folder

log = logging.getLogger("cllora")

FORMAT = 1
"""Goes up when what is made of the same file changes."""
MADE = "made.json"
"""What the folder was made of, and the SHA-256 of every other file in it; written last."""
KEPT = (
    *("name", "author", "organization", "version", "size_label", "quantized_by"),
    *("license", "license.name", "license.link"),
    *("url", "repo_url", "source.url", "source.repo_url", "source.huggingface.repository"),
)
"""Of `general.*`, what says where a model comes from and under which terms."""
MAGIC = b"GGUF"
DISK_ROOM = 50_000_000
"""Bytes beside the weights themselves: tokenizer, config, and some to spare."""


def is_gguf(path: Path) -> bool:
    """Whether a path names a GGUF file: by its ending, or by its first bytes."""
    if path.is_dir():
        return False
    if path.suffix.lower() == ".gguf":
        return True
    try:
        with path.open("rb") as file:
            return file.read(4) == MAGIC
    except OSError:
        return False


def folder_of(path: Path) -> Path:
    """The folder with the model and the tokenizer of a GGUF file, made if it is not in the cache.

    The weights are saved in float32, in which a dequantised value is exact: neither float16 nor bfloat16 has room for
    scale times number plus offset. The folder's name has a hash of the file's bytes and of what converts it, so a file
    that has changed is converted anew.

    Raises:
        UsageError: it is no GGUF file of a known family, is not whole, or the cache cannot be written or is damaged.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise UsageError(f"model.name: cannot read {path}: {error.strerror}") from None
    return _folder_of(path, cache_folder() / "gguf", status.st_mtime_ns, status.st_size)


def origin(folder: Path) -> dict[str, Any]:
    """Where a converted model comes from, as its file says: JSON-able."""
    found: dict[str, Any] = json.loads((folder / MADE).read_text(encoding="utf-8"))["origin"]
    return found


@functools.cache
def _folder_of(path: Path, root: Path, changed: int, size: int) -> Path:
    """Once for every state of a file in a process: its bytes, and those in the cache, are read for their hashes."""
    _check_packages(path)
    try:
        sha = _sha256(path)
    except OSError as error:
        raise UsageError(f"model.name: cannot read {path}: {error.strerror}") from None
    made_by = {name: importlib.metadata.version(name) for name in ("gguf", "transformers")}
    key = hashlib.sha256(json.dumps([FORMAT, sha, made_by], sort_keys=True).encode()).hexdigest()[:16]
    place = root / f"{re.sub(r'[^A-Za-z0-9._-]', '-', path.stem)[:60]}-{key}"
    if not place.is_dir():
        content = read(path)
        log.info("%s: dequantising it into %s, once; this takes a while", path.name, root)
        with new_folder(root) as folder:
            _convert(content, folder)
            files = {file.name: _sha256(file) for file in sorted(folder.iterdir())}
            made = {"origin": {**content.origin(), "sha256": sha}, "made_by": made_by, "files": files}
            with cache_errors(root):
                (folder / MADE).write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
                publish(folder, place)
    _check_whole(place)
    return place


def _check_packages(path: Path) -> None:
    if importlib.util.find_spec("gguf") is None:
        raise UsageError(
            f"model.name: {path.name} is a GGUF file, and the package that reads it is not installed; "
            "pip install 'cllora[gguf]'"
        )


def _check_whole(place: Path) -> None:
    """Hold the files in the cache against the hashes that were taken of them."""
    try:
        files = json.loads((place / MADE).read_text(encoding="utf-8"))["files"]
        broken = next((name for name, sha in files.items() if _sha256(place / name) != sha), None)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        broken = one_line(error)
    if broken is not None:
        raise UsageError(f"the cached model in {place} is damaged ({broken}); delete that folder")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Content:
    """What a GGUF file says: `fields`, its metadata by key, and `shapes`, (rows, ..., columns) of its tensors."""

    def __init__(self, path: Path, fields: Mapping[str, Any], tensors: Mapping[str, Any]) -> None:
        self.path, self.fields, self.tensors = path, fields, tensors
        self.shapes = {name: tuple(int(n) for n in reversed(it.shape)) for name, it in tensors.items()}
        self.architecture = str(fields.get("general.architecture"))

    @property
    def numbers(self) -> int:
        """How many weights there are."""
        return sum(math.prod(shape) for key, shape in self.shapes.items() if key != ROPE_FACTORS)

    def origin(self) -> dict[str, Any]:
        """Its name, licence and source as it states them, and how its weights are stored."""
        general = {
            key.removeprefix("general."): value for key, value in self.fields.items() if key.startswith("general.")
        }
        said = {key: value for key, value in general.items() if key in KEPT or key.startswith("base_model.")}
        return {
            "file": self.path.name,
            "architecture": self.architecture,
            "types": dict(Counter(it.tensor_type.name for it in self.tensors.values())),
            "said": {key: value for key, value in said.items() if isinstance(value, str | int)},
        }


def read(path: Path) -> Content:
    """Read a GGUF file's metadata, and hold it to be one whole language model of a known family.

    Raises:
        UsageError: it is not.
    """
    import gguf

    name = f"model.name: {path}"
    with path.open("rb") as file:
        if file.read(4) != MAGIC:
            raise UsageError(f"{name} is no GGUF file; choose another, or a model's folder")
    try:
        reader = gguf.GGUFReader(path)
        fields = {key: field.contents() for key, field in reader.fields.items() if not key.startswith("GGUF.")}
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, MemoryError) as error:
        raise UsageError(
            f"{name} is damaged or cut off, or of a kind that is not known ({one_line(error, 120)})"
        ) from None
    if reader.byte_order == "S":
        raise UsageError(f"{name} is for machines of the other byte order; choose another file")
    content = Content(path, fields, {it.name: it for it in reader.tensors})
    _check_kind(content, name)
    return content


def _check_kind(content: Content, name: str) -> None:
    """Refuse what is no language model, or only a piece of one, or of another family."""
    import gguf

    fields, architecture = content.fields, content.architecture
    kind = fields.get("general.type", "model")
    if kind == "adapter" or "adapter.type" in fields:
        raise UsageError(f"{name} is an adapter, not a base; give the base that it was made for")
    if kind == "mmproj" or architecture == "clip":
        raise UsageError(f"{name} is a projector for images, not a language model; give the model's own file")
    if kind != "model":
        raise UsageError(f"{name} is of the type '{kind}', not a model; choose another file")
    if fields.get("split.count", 1) > 1 or re.search(r"-\d{5}-of-\d{5}$", content.path.stem):
        raise UsageError(f"{name} is one of several parts; join them first (llama-gguf-split --merge)")
    if architecture not in FAMILIES:
        raise UsageError(
            f"{name} is of the architecture '{architecture}'; of GGUF files those of {', '.join(FAMILIES)} are read; "
            "give the model's folder as transformers reads it"
        )
    for tensor in {it.tensor_type: it for it in content.tensors.values()}.values():
        try:
            gguf.dequantize(tensor.data[:1], tensor.tensor_type)
        except NotImplementedError:
            raise UsageError(
                f"{name} has weights of the type {tensor.tensor_type.name}, which the gguf package cannot dequantise; "
                "choose a file of another type"
            ) from None


def _convert(content: Content, folder: Path) -> None:
    """Write config, weights and tokenizer of a GGUF file into a folder.

    Raises:
        UsageError: what the file holds is not what its family has, or there is no room.
    """
    import transformers
    from safetensors import SafetensorError

    from cllora.model.gguf_tokenizer import build_tokenizer, check_reread

    name = f"model.name: {content.path}"
    transformers.utils.logging.disable_progress_bar()
    tokenizer = build_tokenizer(content.fields, name)
    config = config_of(content, name)
    room, needed = shutil.disk_usage(folder).free, 4 * content.numbers + DISK_ROOM
    if room < needed:
        raise UsageError(
            f"{name} takes {needed / 1e6:,.0f} MB in {folder.parent}, and {room / 1e6:,.0f} MB are free; "
            "make room, or set CLLORA_CACHE to another folder"
        )
    model = _model(content, config, name)
    model.generation_config = _generation(content, transformers)
    with cache_errors(folder.parent):
        try:
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        except SafetensorError as error:
            raise OSError(one_line(error)) from None
    check_reread(tokenizer, folder, name)


def _model(content: Content, config: Any, name: str) -> Any:
    """The dequantised model, every weight of it in the file and every weight of the file in it."""
    import torch
    import transformers
    from transformers.utils.quantization_config import GgufConfig

    try:
        with _quiet(transformers):
            read, found = transformers.AutoModelForCausalLM.from_pretrained(
                content.path.parent,
                gguf_file=content.path.name,
                config=config,
                quantization_config=GgufConfig(dequantize=True),
                dtype=torch.float32,
                ignore_mismatched_sizes=True,  # they are refused below, by name
                output_loading_info=True,
            )
    except (OSError, ValueError, KeyError, RuntimeError, IndexError, TypeError, ImportError) as error:
        raise UsageError(f"{name} cannot be loaded: {one_line(error)}") from None
    # A model that remembers having been GGUF cannot be saved: its weights go into one that does not.
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    weights, sizes = read.state_dict(), {key: value.shape for key, value in model.state_dict().items()}
    wrong = [key for key, *_ in found["mismatched_keys"]]
    wrong += [key for key, shape in sizes.items() if key in weights and weights[key].shape != shape]
    if wrong:
        raise UsageError(f"{name}: {min(wrong)} is not of the size that the rest asks for; choose another file")
    if lacking := sorted(found["missing_keys"]):
        raise UsageError(f"{name} lacks {len(lacking)} of its weights, such as {lacking[0]}; choose a whole file")
    held = sum(p.numel() for p in read.parameters())
    if held != content.numbers:
        raise UsageError(f"{name} has {content.numbers:,} weights, and the model {held:,}; choose another file")
    model.load_state_dict(weights, assign=True)
    model.tie_weights()
    return model


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Without the bar that the loader draws, and its report on what is refused here in one line."""
    verbosity = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        transformers.utils.logging.set_verbosity(verbosity)


def _generation(content: Content, transformers: Any) -> Any:
    """What ends a text: the token of its end, and that of a turn's, if the file has one of its own."""
    ids = {key: content.fields.get(f"tokenizer.ggml.{key}_token_id") for key in ("bos", "eos", "eot", "eom", "padding")}
    ends = [each for each in dict.fromkeys(ids[key] for key in ("eos", "eot", "eom")) if each is not None]
    return transformers.GenerationConfig(
        bos_token_id=ids["bos"], eos_token_id=ends or None, pad_token_id=ids["padding"]
    )
