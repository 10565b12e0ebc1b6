"""The seeds of a study: so many, those that are listed, or as many as it takes to decide."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from cllora.errors import FieldError
from cllora.spec.fields import Fields, explain
from cllora.spec.section import Section

MOST_SEEDS = 10_000
FIRST_LOOK = 8
"""Seeds at the first look: from there on differences are judged by their ranks, see `cllora.stats`."""


class Until(Section):
    """Seeds that are added until the study is decided: `first` at the first look, at most `most` at the last."""

    until: Literal["decided"]
    most: Annotated[int, Field(ge=2, le=MOST_SEEDS)]
    first: Annotated[int, Field(ge=2)] = FIRST_LOOK

    @model_validator(mode="after")
    def _first_before_most(self) -> "Until":
        if self.first > self.most:
            raise ValueError(f"first is {self.first}, most {self.most}; give as many seeds or more as most")
        return self


def seed_fields(value: object) -> Fields:
    """The fields `seeds` and `until` of a number of seeds, of those that are listed, or of `{until: decided, ...}`."""
    if isinstance(value, list | tuple):
        return {"seeds": tuple(value)}
    if isinstance(value, Mapping):
        try:
            until = Until.model_validate(dict(value))
        except ValidationError as error:
            raise explain(Until, error).within("seeds") from None
        return {"seeds": tuple(range(until.most)), "until": until}
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MOST_SEEDS:
        message = f"seeds: give a number from 1 to {MOST_SEEDS:,}, a list, or {{until: decided, most: 60}}"
        raise FieldError(message, "seeds", value)
    return {"seeds": tuple(range(value))}
