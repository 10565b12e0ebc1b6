"""What every part of a study is made of."""

from typing import Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)


class Section(BaseModel):
    """A part of an experiment: frozen, no unknown fields, no infinities.

    `UNSAID` fields are left out of what is written down where they have their default, so that an experiment which does
    not use them is written, and called, as it was before there were such fields.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())
    UNSAID: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _said(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields: dict[str, Any] = handler(self)
        unused = [name for name in self.UNSAID if getattr(self, name) == type(self).model_fields[name].default]
        return {name: value for name, value in fields.items() if name not in unused}


class Choice(Section):
    """A registered name with its options, written `fedadam` or `{name: fedadam, server_lr: 0.1}`."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)
    name: str

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})
