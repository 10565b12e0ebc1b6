"""The content of a GGUF file: its metadata by key, and its tensors."""

import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from cllora.errors import UsageError, one_line
from cllora.model.gguf_families import FAMILIES, ROPE_FACTORS
from cllora.model.gguf_fields import check_general, check_model, in_one_line, shown
from cllora.model.gguf_header import check_header
from cllora.model.libraries import Entries, Metadata, Tensor

KEPT = (
    *("name", "author", "organization", "version", "size_label", "quantized_by"),
    *("license", "license.name", "license.link"),
    *("url", "repo_url", "source.url", "source.repo_url", "source.huggingface.repository"),
)
"""The keys of `general.*` that say where a model comes from and under which terms."""


class Content:
    """The content of a GGUF file: `fields`, its metadata by key, and `shapes`, (rows, ..., columns) of its tensors."""

    def __init__(self, path: Path, fields: Metadata, tensors: Mapping[str, Tensor]) -> None:
        self.path, self.fields, self.tensors = path, fields, tensors
        self.shapes = {name: tuple(int(n) for n in reversed(tensor.shape)) for name, tensor in tensors.items()}
        self.architecture = str(fields.get("general.architecture"))

    @property
    def numbers(self) -> int:
        """The number of weights."""
        return sum(math.prod(shape) for key, shape in self.shapes.items() if key != ROPE_FACTORS)

    def origin(self) -> Entries:
        """The origin of the file: its name, licence and source as it states them, and how its weights are stored."""
        general = {
            key.removeprefix("general."): value for key, value in self.fields.items() if key.startswith("general.")
        }
        metadata = {key: value for key, value in general.items() if key in KEPT or key.startswith("base_model.")}
        return {
            "file": self.path.name,
            "architecture": self.architecture,
            "types": dict(Counter(tensor.tensor_type.name for tensor in self.tensors.values())),
            "metadata": {key: value for key, value in metadata.items() if isinstance(value, str | int)},
        }


def read(path: Path) -> Content:
    """Read a GGUF file's metadata, and hold it to be one whole language model of a known family.

    Raises:
        UsageError: it is not.
    """
    import gguf

    name = f"model.name: {path}"
    check_header(path, name)
    try:
        reader = gguf.GGUFReader(path)
        fields = {key: field.contents() for key, field in reader.fields.items() if not key.startswith("GGUF.")}
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, MemoryError) as error:
        raise UsageError(
            f"{name} is damaged or cut off, or of a kind that is not known ({one_line(error, 120)})"
        ) from None
    content = Content(path, fields, {tensor.name: tensor for tensor in reader.tensors})
    _check_kind(content, name)
    return content


def _check_kind(content: Content, name: str) -> None:
    """Refuse a file that is no language model, a piece of one, or of another family."""
    import gguf

    fields, architecture = content.fields, content.architecture
    check_general(fields, name)
    kind = fields.get("general.type", "model")
    if kind == "adapter" or "adapter.type" in fields:
        raise UsageError(f"{name} is an adapter, not a base; give the base that it was made for")
    if kind == "mmproj" or architecture == "clip":
        raise UsageError(f"{name} is a projector for images, not a language model; give the model's own file")
    if kind != "model":
        raise UsageError(f"{name} is of the type '{shown(kind)}', not a model; choose another file")
    if fields.get("split.count", 1) > 1 or re.search(r"-\d{5}-of-\d{5}$", content.path.stem):
        raise UsageError(f"{name} is one of several parts; join them first (llama-gguf-split --merge)")
    if architecture not in FAMILIES:
        raise UsageError(
            f"{name} is of the architecture '{shown(architecture)}'; "
            f"of GGUF files those of {', '.join(FAMILIES)} are read; "
            "give the model's folder as transformers reads it"
        )
    check_model(fields, architecture, name)
    for tensor in {tensor.tensor_type: tensor for tensor in content.tensors.values()}.values():
        with in_one_line(f"{name}: {tensor.name} cannot be dequantised"):
            try:
                gguf.dequantize(tensor.data[:1], tensor.tensor_type)
            except NotImplementedError:
                raise UsageError(
                    f"{name} has weights of the type {tensor.tensor_type.name}, which the gguf package cannot "
                    "dequantise; choose a file of another type"
                ) from None
