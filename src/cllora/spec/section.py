"""What every part of a study is made of."""

from collections.abc import Callable
from typing import Any, ClassVar

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

EVERY_FIELD = "every field"


class Section(BaseModel):
    """A part of an experiment: frozen, no unknown fields, no infinities, no value turned into one of another kind.

    `UNSAID` fields are left out of what is written down where they have their default, so that an experiment which does
    not use them is written, and called, as it was before there were such fields.
    """

    # An option that is no number stays what it is until it is refused by name, rather than becoming null.
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="constants", protected_namespaces=()
    )
    UNSAID: ClassVar[tuple[str, ...]] = ()

    @field_validator("*", mode="wrap")
    @classmethod
    def _of_its_kind(cls, value: Any, handler: Callable[[Any], Any]) -> Any:
        return as_written(value, handler)

    @model_serializer(mode="wrap")
    def _said(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        if info.context == EVERY_FIELD:
            return fields
        unused = [name for name in self.UNSAID if getattr(self, name) == type(self).model_fields[name].default]
        return {name: value for name, value in fields.items() if name not in unused}

    def every_field(self) -> dict[str, Any]:
        """Plain data of all fields, with those that are otherwise left out."""
        return self.model_dump(mode="json", context=EVERY_FIELD)


class WithOptions(Section):
    """A section that names something registered; further fields are its options."""

    model_config = ConfigDict(extra="allow")

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Choice(WithOptions):
    """A registered name with its options, written `fedadam` or `{name: fedadam, server_lr: 0.1}`."""

    name: str

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value
