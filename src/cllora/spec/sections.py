"""The sections of an experiment, and the experiment: everything that decides a run's numbers.

Everything is frozen and checked on entry. Names of registered things (strategies, partitioners, ...) are checked
one layer up, where they are known.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)

from cllora.errors import UsageError
from cllora.spec.fields import explain
from cllora.spec.section import Choice, Section, WithOptions

Fraction = Annotated[float, Field(ge=0, lt=1)]
Context = Annotated[int, Field(ge=2)]
PASSKEY_CONTEXT = 256
"""The least context with room for a passkey's text, even where a token is a byte."""


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
    UNSAID = ("positions", "checkpointing", "loss_piece")

    @field_serializer("attention")
    def _short(self, attention: Choice) -> str | dict[str, Any]:
        return {"name": attention.name, **attention.options} if attention.options else attention.name

    @property
    def stretched(self) -> bool:
        """Whether the base's positions are interpolated."""
        return self.positions != "as_trained"


PARTS = ("lora", "norms", "embeddings", "positions")


class LoraSpec(Section):
    """PEFT's `LoraConfig` fields, and what is trained beside LoRA.

    Without `target_modules` PEFT's default for the model's family is taken. `train` is `lora`, or adds `norms`,
    `embeddings` and `positions` (a learned table) to it, joined by `+`; or is `full`: every weight, and no LoRA. Of
    `embeddings` only the rows of the tokens `embedding_rows` are trained, or LoRA of rank `embedding_r` on them.
    """

    r: PositiveInt = 2
    lora_alpha: PositiveFloat = 16
    lora_dropout: Fraction = 0.05
    target_modules: tuple[str, ...] | None = None
    use_rslora: bool = False
    train: str = "lora"
    embedding_rows: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] | None = None
    embedding_r: PositiveInt | None = None
    UNSAID = ("train", "embedding_rows", "embedding_r")

    @property
    def parts(self) -> tuple[str, ...]:
        """What is trained: `full` alone, or `lora` and what is beside it."""
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

    @model_validator(mode="after")
    def _one_way_to_embed(self) -> "LoraSpec":
        given = [name for name in ("embedding_rows", "embedding_r") if getattr(self, name) is not None]
        if given and "embeddings" not in self.parts:
            raise ValueError(f"{given[0]} says how embeddings are trained; give it with train: lora+embeddings")
        if len(given) > 1:
            raise ValueError("embedding_rows and embedding_r are two ways to train embeddings; give one")
        if self.embedding_rows is not None and len(set(self.embedding_rows)) < len(self.embedding_rows):
            raise ValueError("embedding_rows names a token twice")
        return self


class SpoilSpec(WithOptions):
    """How texts are spoiled on purpose, and which share of them. Further fields are the spoiler's own options."""

    kind: str
    share: Annotated[float, Field(ge=0, le=1)]


class DataSpec(Section):
    """Where texts come from (exactly one of `corpus`, `path`, `hub`), and what is tested on.

    `text` names a column, or is a template over columns such as `"{question}"`; `answer` likewise adds a second
    part, and `loss_on: answer` takes the loss on it alone. `test` is a share of the rows, or names a file
    (with `path`) or a split (with `hub` or a saved dataset). `subset` is what the hub calls a configuration, for data
    sets that come in several. `spoil` spoils a share of the texts that are trained on.
    """

    UNSAID = ("subset",)

    corpus: Choice | None = None
    path: str | None = None
    hub: str | None = None
    subset: str | None = None
    split: str = "train"
    text: str = "text"
    answer: str | None = None
    loss_on: Literal["all", "answer"] = "all"
    test: Annotated[float, Field(gt=0, lt=1)] | str = 0.1
    limit: PositiveInt | None = None
    spoil: SpoilSpec | None = None

    @model_validator(mode="before")
    @classmethod
    def _default_corpus(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and not any(value.get(key) for key in ("corpus", "path", "hub")):
            return {**value, "corpus": "docstrings"}
        return value

    @model_validator(mode="after")
    def _one_source(self) -> "DataSpec":
        given = [key for key in ("corpus", "path", "hub") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of corpus, path and hub, not {' and '.join(given)}")
        if self.subset is not None and self.hub is None:
            raise ValueError("subset is of a data set of the hub; leave it out")
        if self.loss_on == "answer" and self.answer is None:
            raise ValueError("loss_on: answer needs an answer column or template")
        return self


class PartitionSpec(WithOptions):
    """Who owns which text. Further fields are the scheme's own options (`alpha`, `budget`, `overlap`, ...).

    `by` is the feature whose classes are dealt; `and_by` a second one, for schemes that can skew two at once.
    `residual_on: length` makes the feature that texts are told apart `by` independent of their length.
    """

    scheme: str = "client_mix"
    num_clients: PositiveInt = 20
    by: Choice = Choice(name="length")
    residual_on: Literal["length"] | None = None
    classes: Annotated[int, Field(ge=1)] = 5
    and_by: Choice | None = None
    and_classes: Annotated[int, Field(ge=1)] = 5
    local_test: Fraction = 0.1
    min_samples: Annotated[int, Field(ge=1)] = 10

    @model_validator(mode="after")
    def _two_features(self) -> "PartitionSpec":
        if self.and_by == self.by:
            raise ValueError("and_by must be another feature than by")
        return self


class FederationSpec(Section):
    """Which strategy joins the clients' work, for how long, and how many take part in a round."""

    strategy: Choice = Choice(name="fedavg")
    num_rounds: PositiveInt = 20
    clients_per_round: PositiveInt = 2


Contexts = Annotated[tuple[Context, ...] | dict[str, Context], Field(min_length=1)]


class LocalSpec(Section):
    """What a chosen client does in a round, in the field names of transformers; `steps` overrides `epochs`.

    With `contexts` clients train on texts cut at contexts of their own, none longer than `model.context`: client k
    at entry k modulo their number; or, by name, each owner at what is given for it, and the others at `model.context`.
    """

    epochs: PositiveInt = 1
    steps: PositiveInt | None = None
    batch_size: PositiveInt = 32
    optim: Literal["adamw", "sgd"] = "adamw"
    learning_rate: PositiveFloat = 5e-5
    lr_scheduler_type: Literal["constant", "linear", "cosine"] = "linear"
    warmup_steps: NonNegativeInt = 0
    weight_decay: NonNegativeFloat = 0.0
    max_grad_norm: NonNegativeFloat = 1.0
    contexts: Contexts | None = None
    UNSAID = ("contexts",)

    @field_validator("contexts", mode="before")
    @classmethod
    def _several_contexts(cls, value: Any) -> Any:
        if value is None or isinstance(value, list | tuple | dict):
            return value
        raise ValueError("give a list, such as [64, 128], or a context for each owner by name; for all, model.context")


class EvaluationSpec(Section):
    """What to evaluate, and when: every so many rounds, and always before the first and after the last.

    `local_models` says whether the chosen clients' own adapters are evaluated too, just after their local training.
    Once, after the last round: with `attention` the entropy of every attention head, before and after; with `surface`
    the loss over a plane through two clients' adapters, at so many points a side (0: none); with `by_position` the loss
    by position in the text, before and after; with `passkey` how often a key that is hidden in a text is found again,
    before and after, over so many keys per length and depth (0: none).
    `pattern` is the pattern of attention in evaluation, whatever that of training (`model.attention`).
    """

    every: PositiveInt = 1
    local_models: bool = True
    attention: bool = False
    surface: NonNegativeInt = 0
    pattern: Choice = Choice(name="full")
    by_position: bool = False
    passkey: NonNegativeInt = 0
    UNSAID = ("pattern", "by_position", "passkey")

    @model_validator(mode="after")
    def _entropy_as_evaluated(self) -> "EvaluationSpec":
        if self.attention and self.pattern.name != "full":
            raise ValueError("attention is the entropy of full attention; set pattern to full, or attention to false")
        return self


class Experiment(Section):
    """One cell of a study: everything that decides a run's numbers. Equal experiments are the same run."""

    model: ModelSpec = ModelSpec()
    lora: LoraSpec = LoraSpec()
    data: DataSpec = DataSpec(corpus=Choice(name="docstrings"))
    partition: PartitionSpec = PartitionSpec()
    federation: FederationSpec = FederationSpec()
    local: LocalSpec = LocalSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    seed: NonNegativeInt = 0
    load: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _parts_fit(self) -> "Experiment":
        chosen, clients = self.federation.clients_per_round, self.partition.num_clients
        if chosen > clients:
            raise ValueError(f"federation.clients_per_round is {chosen}, but partition.num_clients is {clients}")
        contexts = self.local.contexts or ()
        longest = max(contexts.values() if isinstance(contexts, dict) else contexts, default=0)
        if longest > self.model.context:
            raise ValueError(
                f"local.contexts has {longest}, but model.context is {self.model.context}; raise that, or lower this"
            )
        if self.evaluation.surface and chosen < 2:
            raise ValueError("evaluation.surface needs two clients; set federation.clients_per_round to 2 or more")
        if self.evaluation.passkey and self.model.context < PASSKEY_CONTEXT:
            raise ValueError(f"evaluation.passkey needs model.context to be {PASSKEY_CONTEXT} or more")
        return self

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, two spaces, no dependence on how it was written."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, indent=2)

    @property
    def id(self) -> str:
        """Twelve hex digits of the SHA-256 of `to_json()`."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]

    @classmethod
    def parse(cls, fields: Mapping[str, Any]) -> "Experiment":
        """An experiment from plain data.

        Raises:
            UsageError: an unknown field (with a guess) or a value that is not admitted.
        """
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise UsageError(explain(cls, error)) from None
