"""The sections of an experiment, and the experiment: everything that decides a run's numbers.

Everything is frozen and checked on entry. Names of registered things (strategies, partitioners, ...) are checked
one layer up, where they are known.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from cllora.seeds import seed_for
from cllora.spec.aliases import canonical, name_today, with_first_names
from cllora.spec.data import DataSpec
from cllora.spec.fields import Fields, explain, same_path
from cllora.spec.model import Context, Fraction, LoraSpec, ModelSpec
from cllora.spec.section import Choice, Section, WithOptions

PASSKEY_CONTEXT = 256
"""The least context with room for a passkey's text, even where a token is a byte."""
PASSKEY_KEYS = 5
SURFACE_SIDE = 9
"""The defaults of the probes `passkey` and `loss_surface`."""

PROBE_FIELDS: dict[str, tuple[str, str, bool | int]] = {
    "attention_entropy": ("attention", "", True),
    "loss_by_position": ("by_position", "", True),
    "loss_surface": ("surface", "side", SURFACE_SIDE),
    "passkey": ("passkey", "keys", PASSKEY_KEYS),
}
"""Probes that have a field of `EvaluationSpec` to themselves: the field, the option that it gives, and its default."""
ALWAYS_PROBED = "update_geometry"


class PartitionSpec(WithOptions):
    """The partition of texts over clients. Further fields are the scheme's own options, such as `alpha` or `budget`.

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

    @field_validator("scheme", mode="before")
    @classmethod
    def _first_name(cls, value: object) -> object:
        return canonical("partition.scheme", value)

    @field_validator("by", "and_by", mode="before")
    @classmethod
    def _name_today(cls, value: object, info: ValidationInfo) -> object:
        return name_today(f"partition.{info.field_name}", value)

    @model_validator(mode="after")
    def _two_features(self) -> "PartitionSpec":
        if self.and_by == self.by:
            raise ValueError("and_by must be another feature than by")
        return self


class FederationSpec(Section):
    """The strategy that aggregates clients' updates, the number of rounds, and the participation in a round."""

    strategy: Choice = Choice(name="fedavg")
    num_rounds: PositiveInt = 20
    clients_per_round: PositiveInt = 2


Contexts = Annotated[tuple[Context, ...] | dict[str, Context], Field(min_length=1)]


class LocalSpec(Section):
    """A chosen client's local training in a round, in the field names of transformers; `steps` overrides `epochs`.

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
    OMIT_IF_DEFAULT = ("contexts",)

    @field_validator("contexts", mode="before")
    @classmethod
    def _several_contexts(cls, value: object) -> object:
        if value is None or isinstance(value, list | tuple | dict):
            return value
        raise ValueError("give a list, such as [64, 128], or a context for each owner by name; for all, model.context")


class EvaluationSpec(Section):
    """The schedule and the probes of evaluation: every so many rounds, and always before the first and after the last.
    Only rounds `after` a share of all of them are evaluated: with 0.5 the last half, of which the primary outcome is.

    `local_models` says whether the chosen clients' own adapters are evaluated too, just after their local training: on
    their own test texts and the global test set, or with `own` on their own alone, which is a small part of it.
    Once, after the last round: with `attention` the entropy of every attention head, before and after; with `surface`
    the loss over a plane through two clients' adapters, at so many points a side (0: none); with `by_position` the loss
    by position in the text, before and after; with `passkey` how often a key that is hidden in a text is found again,
    before and after, over so many keys per length and depth (0: none). `probes` names any others, such as those of a
    user's own file; these four may be named there too, which is the same experiment.
    `pattern` is the pattern of attention in evaluation, whatever that of training (`model.attention`).
    """

    every: PositiveInt = 1
    after: Annotated[float, Field(ge=0, lt=1)] = 0.0
    local_models: bool | Literal["own"] = True
    attention: bool = False
    surface: NonNegativeInt = 0
    pattern: Choice = Choice(name="full")
    by_position: bool = False
    passkey: NonNegativeInt = 0
    probes: tuple[Choice, ...] = ()
    OMIT_IF_DEFAULT = ("after", "pattern", "by_position", "passkey", "probes")

    @field_validator("local_models", mode="before")
    @classmethod
    def _own_or_all(cls, value: object) -> object:
        if isinstance(value, bool) or value == "own":
            return value
        raise ValueError("write true, false or own")

    @model_validator(mode="before")
    @classmethod
    def _one_spelling(cls, fields: object) -> object:
        """Write a probe that has a field to itself as that field, so that one experiment has one JSON."""
        named = fields.get("probes") if isinstance(fields, Mapping) else None
        if not isinstance(fields, Mapping) or not isinstance(named, list | tuple):
            return fields
        chosen: list[object] = []
        fields = dict(fields)
        for probe in named:
            name, options = _name_and_options(probe)
            field, option, default = PROBE_FIELDS.get(name, ("", "", False))
            if not field or not options.keys() <= {option}:
                chosen += [] if (name, options) == (ALWAYS_PROBED, {}) else [probe]
            elif fields.get(field, False):
                raise ValueError(f"evaluation.{field} and evaluation.probes both ask for {name}; give it once")
            else:
                fields[field] = options.get(option, default)
        return {**fields, "probes": chosen}

    @field_validator("probes", mode="after")
    @classmethod
    def _named_once(cls, probes: tuple[Choice, ...]) -> tuple[Choice, ...]:
        names = [probe.name for probe in probes]
        twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        if twice:
            raise ValueError(f"'{twice[0]}' is given twice; name it once")
        return probes

    @model_validator(mode="after")
    def _entropy_as_evaluated(self) -> "EvaluationSpec":
        if self.attention and self.pattern.name != "full":
            raise ValueError("attention is the entropy of full attention; set pattern to full, or attention to false")
        return self

    @property
    def asked(self) -> tuple[Choice, ...]:
        """Every probe that is measured, those that have fields to themselves among them."""
        own = {
            name: {option: getattr(self, field)} if option else {}
            for name, (field, option, _) in PROBE_FIELDS.items()
            if getattr(self, field)
        }
        return (
            Choice(name=ALWAYS_PROBED),
            *(Choice(name=name, **options) for name, options in own.items()),
            *self.probes,
        )


def _name_and_options(probe: object) -> tuple[str, dict[str, object]]:
    """A probe's name and options from how it is written: `passkey`, or `{name: passkey, keys: 5}`."""
    if not isinstance(probe, Mapping | Choice):
        return str(probe), {}
    fields = probe.model_dump() if isinstance(probe, Choice) else dict(probe)
    return str(fields.pop("name", "")), fields


PATHS = (("lora", "start"), ("data", "path"), ("data", "test"), ("data", "template"))
"""Fields that are, or may be, a file or folder, beside `model.name`."""


class Experiment(Section):
    """One cell of a study: everything that decides a run's numbers. Equal experiments are the same run.

    `seed` draws the test split, and all else (deal, chosen clients, orders, starts) unless a `redraw` does so anew.
    """

    OMIT_IF_DEFAULT = ("redraw",)

    model: ModelSpec = ModelSpec()
    lora: LoraSpec = LoraSpec()
    data: DataSpec = DataSpec(corpus=Choice(name="docstrings"))
    partition: PartitionSpec = PartitionSpec()
    federation: FederationSpec = FederationSpec()
    local: LocalSpec = LocalSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    seed: NonNegativeInt = 0
    redraw: NonNegativeInt = 0
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
        if not isinstance(contexts, dict) and len(contexts) > clients:
            raise ValueError(
                f"local.contexts has {len(contexts)} contexts, but partition.num_clients is {clients}; leave some out"
            )
        if self.evaluation.surface and chosen < 2:
            raise ValueError("evaluation.surface needs two clients; set federation.clients_per_round to 2 or more")
        if self.evaluation.passkey and self.model.context < PASSKEY_CONTEXT:
            raise ValueError(f"evaluation.passkey needs model.context to be {PASSKEY_CONTEXT} or more")
        return self

    @property
    def chance(self) -> int:
        """The seed of all that is drawn but the test split."""
        return seed_for(self.seed, "redraw", self.redraw) if self.redraw else self.seed

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, two spaces, first names, no dependence on how it was written."""
        return json.dumps(with_first_names(self.model_dump(mode="json")), sort_keys=True, indent=2)

    def meaning(self) -> Fields:
        """Plain data in which two experiments are equal that differ in how they are written alone: in the order of
        what is a set, in how a path is written, or in contexts that come to the same for every client."""
        fields = self.every_field()
        for section, name in PATHS:
            fields[section][name] = same_path(fields[section][name])
        if "/" in self.model.name:  # others may be names of bases
            fields["model"]["name"] = same_path(self.model.name)
        for name in ("target_modules", "layers_to_transform", "modules_to_save", "embedding_rows"):
            if isinstance(fields["lora"][name], list):
                fields["lora"][name] = sorted(fields["lora"][name])
        fields["evaluation"]["probes"].sort(key=lambda probe: str(probe["name"]))
        fields["local"]["contexts"] = self._own_contexts() or None
        return fields

    def _own_contexts(self) -> Mapping[str, int] | Sequence[int]:
        """Contexts of clients that are not the model's: by name, or of every client if one has its own."""
        asked, whole = self.local.contexts, self.model.context
        if isinstance(asked, dict):
            return {name: context for name, context in asked.items() if context != whole}
        contexts = [asked[client % len(asked)] for client in range(self.partition.num_clients)] if asked else []
        return contexts if set(contexts) != {whole} else []

    @property
    def id(self) -> str:
        """Twelve hex digits of the SHA-256 of `to_json()`."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:12]

    @classmethod
    def parse(cls, fields: Mapping[str, object]) -> "Experiment":
        """An experiment from plain data.

        Raises:
            UsageError: an unknown field (with a guess) or a value that is not admitted.
        """
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise explain(cls, error) from None
