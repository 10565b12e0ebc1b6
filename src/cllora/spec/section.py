"""The base class of a study's sections."""

from collections.abc import Callable
from typing import ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from cllora.registry import as_written
from cllora.spec.fields import Fields

EVERY_FIELD = "every field"


class Section(BaseModel):
    """A part of an experiment: frozen, no unknown fields, no infinities, no value turned into one of another kind.

    Fields in `OMIT_IF_DEFAULT` are written down only where they differ from their default. So an experiment that does
    not use a newer field keeps the JSON, and the id, that it had before there was such a field.
    """

    # An option that is no number stays what it is until it is refused by name, rather than becoming null.
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="constants", protected_namespaces=()
    )
    OMIT_IF_DEFAULT: ClassVar[tuple[str, ...]] = ()

    @field_validator("*", mode="wrap")
    @classmethod
    def _of_its_kind(cls, value: object, handler: Callable[[object], object]) -> object:
        return as_written(value, handler)

    @model_serializer(mode="wrap")
    def _without_defaults(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, object]:
        fields: dict[str, object] = handler(self)
        if info.context == EVERY_FIELD:
            return fields
        unused = [name for name in self.OMIT_IF_DEFAULT if getattr(self, name) == type(self).model_fields[name].default]
        return {name: value for name, value in fields.items() if name not in unused}

    def every_field(self) -> Fields:
        """Plain data of all fields, with those that are otherwise left out."""
        return self.model_dump(mode="json", context=EVERY_FIELD)


class WithOptions(Section):
    """A section that names something registered; further fields are its options."""

    model_config = ConfigDict(extra="allow")

    @property
    def options(self) -> Fields:
        return dict(self.model_extra or {})


class Choice(WithOptions):
    """A registered name with its options, written `fedadam` or `{name: fedadam, server_lr: 0.1}`."""

    name: str

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: object) -> object:
        return {"name": value} if isinstance(value, str) else value
