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
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from types import ModuleType

from cllora.corpus.cache import cache_errors, new_folder, publish
from cllora.errors import UsageError, one_line
from cllora.model.gguf_content import Content, read
from cllora.model.gguf_families import config_of
from cllora.model.gguf_fields import in_one_line
from cllora.model.gguf_header import MAGIC
from cllora.model.libraries import Causal, Config, Entries
from cllora.places import cache_folder

log = logging.getLogger("cllora")

FORMAT = 2
"""Goes up when what is made of the same file changes."""
MADE = "made.json"
"""The origin of the folder's content, and the SHA-256 of every other file in it; written last."""
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
    return converted(path, cache_folder() / "gguf", status.st_mtime_ns, status.st_size)


def origin(folder: Path) -> Entries:
    """The origin of a converted model, as its file states it: JSON-able."""
    origin_fields: Entries = json.loads((folder / MADE).read_text(encoding="utf-8"))["origin"]
    return origin_fields


@functools.cache
def converted(path: Path, root: Path, changed: int, size: int) -> Path:
    """The folder of a converted file, once for every state of it in a process: its bytes are read for their hashes."""
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
    with in_one_line(f"{name}: its tokenizer cannot be built"):
        tokenizer = build_tokenizer(content.fields, name)
    with in_one_line(f"{name}: its config cannot be built"):
        config = config_of(content, name)
    room, needed = shutil.disk_usage(folder).free, 4 * content.numbers + DISK_ROOM
    if room < needed:
        raise UsageError(
            f"{name} takes {needed / 1e6:,.0f} MB in {folder.parent}, and {room / 1e6:,.0f} MB are free; "
            "make room, or set CLLORA_CACHE to another folder"
        )
    with in_one_line(f"{name} cannot be loaded"):
        model = dequantised(content, config, name)
    model.generation_config = _generation(content, transformers)
    with cache_errors(folder.parent):
        try:
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        except SafetensorError as error:
            raise OSError(one_line(error)) from None
    with in_one_line(f"{name}: its tokenizer cannot be read again"):
        check_reread(tokenizer, folder, name)


def dequantised(content: Content, config: Config, name: str) -> Causal:
    """The dequantised model, every weight of it in the file and every weight of the file in it."""
    import torch
    import transformers
    from transformers.utils.quantization_config import GgufConfig

    with _quiet(transformers):
        read, loading = transformers.AutoModelForCausalLM.from_pretrained(
            content.path.parent,
            gguf_file=content.path.name,
            config=config,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.float32,
            ignore_mismatched_sizes=True,  # they are refused below, by name
            output_loading_info=True,
        )
    # A model that remembers having been GGUF cannot be saved: its weights go into one that does not.
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    weights, sizes = read.state_dict(), {key: value.shape for key, value in model.state_dict().items()}
    wrong = [key for key, *_ in loading["mismatched_keys"]]
    wrong += [key for key, shape in sizes.items() if key in weights and weights[key].shape != shape]
    if wrong:
        raise UsageError(f"{name}: {min(wrong)} is not of the size that the rest asks for; choose another file")
    if lacking := sorted(loading["missing_keys"]):
        raise UsageError(f"{name} lacks {len(lacking)} of its weights, such as {lacking[0]}; choose a whole file")
    held = sum(p.numel() for p in read.parameters())
    if held != content.numbers:
        raise UsageError(f"{name} has {content.numbers:,} weights, and the model {held:,}; choose another file")
    if broken := [key for key, value in weights.items() if not value.isfinite().all()]:
        raise UsageError(f"{name}: {broken[0]} has values that are not finite numbers; choose another file")
    model.load_state_dict(weights, assign=True)
    model.tie_weights()
    return model


@contextmanager
def _quiet(transformers: ModuleType) -> Iterator[None]:
    """Silence the loader's progress bar, and its report on what is refused here in one line."""
    verbosity = transformers.utils.logging.get_verbosity()
    transformers.utils.logging.set_verbosity_error()
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        transformers.utils.logging.set_verbosity(verbosity)


def _generation(content: Content, transformers: ModuleType) -> Config:
    """The tokens that end a text: that of its end, and that of a turn's, if the file has one of its own."""
    ids = {key: content.fields.get(f"tokenizer.ggml.{key}_token_id") for key in ("bos", "eos", "eot", "eom", "padding")}
    ends = [token for token in dict.fromkeys(ids[key] for key in ("eos", "eot", "eom")) if token is not None]
    return transformers.GenerationConfig(
        bos_token_id=ids["bos"], eos_token_id=ends or None, pad_token_id=ids["padding"]
    )
