"""The sections about the model: the frozen base, and what of it is trained."""

from typing import Annotated, Literal

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_serializer,
    field_validator,
    model_validator,
)

from cllora.spec.section import Choice, Section

Fraction = Annotated[float, Field(ge=0, lt=1)]
Context = Annotated[int, Field(ge=2)]
Names = Annotated[tuple[str, ...], Field(min_length=1)]
PARTS = ("lora", "norms", "embeddings", "positions")


class ModelSpec(Section):
    """The frozen base: `embedded`, the narrower `embedded-64` and `embedded-128`, `embedded-rotary`, `smollm2-135m`, a
    hub name, a folder or a GGUF file; and how much of a text it sees.

    `attention` is the pattern under which it is trained; `evaluation.pattern` has that of evaluation. Two ways to spend
    less memory change no result: with `checkpointing` layers are computed again when their gradients are due, and
    `loss_piece` is how many tokens have their logits in memory at once (by default as many as the device likes).
    """

    name: str = "embedded"
    context: Context = 128
    attention: Choice = Choice(name="full")
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    positions: Literal["as_trained", "linear", "yarn", "interpolate"] = "as_trained"
    checkpointing: bool = False
    loss_piece: PositiveInt | None = None
    OMIT_IF_DEFAULT = ("positions", "checkpointing", "loss_piece")

    @field_serializer("attention")
    def _short(self, attention: Choice) -> str | dict[str, object]:
        return {"name": attention.name, **attention.options} if attention.options else attention.name

    @property
    def stretched(self) -> bool:
        """Whether the base's positions are interpolated."""
        return self.positions != "as_trained"


class LoraSpec(Section):
    """The fields of PEFT's `LoraConfig`, and the parts trained beside LoRA.

    `target_modules` are names, `all-linear`, or a regex over whole paths; without it PEFT's default for the model's
    family is taken, or all linear layers of attention where PEFT has none. `layers_to_transform` limits LoRA to some
    layers, and `modules_to_save` are whole modules that are trained beside it. Training begins at the adapter in the
    folder `start`, which must be of the same shape as is asked for here.

    `train` is `lora`, or adds `norms`, `embeddings` and `positions` (a learned table) to it, joined by `+`; or is
    `full`: every weight, and no LoRA. Of `embeddings` only the rows of the tokens `embedding_rows` are trained, or LoRA
    of rank `embedding_r` on them.
    """

    r: PositiveInt = 2
    lora_alpha: PositiveFloat = 16
    lora_dropout: Fraction = 0.05
    target_modules: Names | str | None = None
    use_rslora: bool = False
    use_dora: bool = False
    layers_to_transform: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] | None = None
    modules_to_save: Names | None = None
    start: str | None = None
    train: str = "lora"
    embedding_rows: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] | None = None
    embedding_r: PositiveInt | None = None
    OMIT_IF_DEFAULT = (
        "use_dora",
        "layers_to_transform",
        "modules_to_save",
        "start",
        "train",
        "embedding_rows",
        "embedding_r",
    )

    @property
    def parts(self) -> tuple[str, ...]:
        """The trained parts: `full` alone, or `lora` and those beside it."""
        return tuple(self.train.split("+"))

    @field_validator("train")
    @classmethod
    def _known_parts(cls, value: str) -> str:
        parts = value.replace(" ", "").split("+")
        if parts == ["full"]:
            return "full"
        if "lora" not in parts or set(parts) - set(PARTS) or len(set(parts)) < len(parts):
            raise ValueError("give full, or lora and what is trained beside it: lora+norms+embeddings+positions")
        return "+".join(part for part in PARTS if part in parts)

    @field_validator("layers_to_transform", "modules_to_save", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        return (value,) if isinstance(value, str | int) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _no_entry_twice(self) -> "LoraSpec":
        for name in ("target_modules", "layers_to_transform", "modules_to_save", "embedding_rows"):
            entries = getattr(self, name)
            for entry in () if entries is None or isinstance(entries, str) else entries:
                if entries.count(entry) > 1:
                    raise ValueError(f"{name} names {entry} twice")
        return self

    @model_validator(mode="after")
    def _lora_to_speak_of(self) -> "LoraSpec":
        fields = ("use_dora", "layers_to_transform", "modules_to_save", "start")
        asked = [name for name in fields if getattr(self, name)]
        if asked and self.train == "full":
            raise ValueError(f"{asked[0]} is of LoRA, and train: full has none; leave one of them out")
        if self.layers_to_transform and self.embedding_r is not None:
            raise ValueError(
                "layers_to_transform leaves out the embedding, which is in no layer; leave out embedding_r"
            )
        if self.use_dora and self.embedding_r is not None:
            raise ValueError("use_dora is for linear layers; leave out embedding_r, or use_dora")
        return self

    @model_validator(mode="after")
    def _one_way_to_embed(self) -> "LoraSpec":
        given = [name for name in ("embedding_rows", "embedding_r") if getattr(self, name) is not None]
        if given and "embeddings" not in self.parts:
            raise ValueError(f"{given[0]} says how embeddings are trained; give it with train: lora+embeddings")
        if len(given) > 1:
            raise ValueError("embedding_rows and embedding_r are two ways to train embeddings; give one")
        return self
