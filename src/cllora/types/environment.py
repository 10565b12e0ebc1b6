"""The environment of a run, recorded in `environment.json`. A field that is None was not recorded."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import AliasChoices, Field


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """The processor's name, its cores, the threads that computed, and the device: a GPU's name, or `cpu`."""

    cpu: str | None = None
    cores: int | None = None
    threads: int | None = None
    device: str | None = None


@dataclass(frozen=True, kw_only=True)
class DataRecord:
    """The texts: what tells them from others, how many there are, and the rows that were dropped, by reason."""

    fingerprint: str | None = None
    samples: int | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class MessageSizes:
    """The size of a message: parameters of an adapter and of the whole model, and the bytes of either.

    `parts` are an adapter's bytes by what they train (`lora`, `norms`, ...), without the file's header.
    """

    trainable_parameters: int | None = None
    full_parameters: int | None = None
    message_bytes: int | None = None
    full_bytes: int | None = None
    parts: Mapping[str, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Package:
    """The package that ships a base: its name, version, licence and addresses."""

    name: str
    version: str
    license: str
    urls: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The origin of a base from a GGUF file: the file, its hash and architecture, how many tensors it stores in each
    type, and its name, licence and source as its metadata state them (`said` in folders of 0.1.0)."""

    file: str | None = None
    architecture: str | None = None
    types: Mapping[str, int] = field(default_factory=dict)
    metadata: Annotated[Mapping[str, str | int], Field(validation_alias=AliasChoices("metadata", "said"))] = field(
        default_factory=dict
    )
    sha256: str | None = None
    package: Package | None = None


@dataclass(frozen=True, kw_only=True)
class BaseRecord:
    """The frozen base: its name and type, the fingerprints of its weights and of the adapter that it starts from, the
    modules that had LoRA on them, and for a GGUF file where it comes from."""

    name: str | None = None
    type: str | None = None
    fingerprint: str | None = None
    lora_on: tuple[str, ...] | None = None
    start_fingerprint: str | None = None
    origin: Origin | None = None


@dataclass(frozen=True, kw_only=True)
class AttentionRecord:
    """A pattern of attention, and the size of its groups in tokens where it has groups."""

    name: str
    group: int | None


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Versions of the software, hardware, precision, data, sizes of messages, the base, and the patterns of attention
    (by use, `training` and `evaluation`). `resumed_on` has those that a run went on with, where they differ."""

    versions: Mapping[str, str] = field(default_factory=dict)
    hardware: Hardware = Hardware()
    precision: str | None = None
    data: DataRecord = DataRecord()
    communication: MessageSizes = MessageSizes()
    model: BaseRecord = BaseRecord()
    attention: Mapping[str, AttentionRecord] | None = None
    resumed_on: tuple["Environment", ...] | None = None
