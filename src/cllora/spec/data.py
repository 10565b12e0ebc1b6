"""The section of an experiment on its texts: their source, and the parts that are trained on."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from cllora.spec.section import Choice, Section, WithOptions


class CorruptSpec(WithOptions):
    """The corruption of texts on purpose, and the share of texts corrupted. Further fields are the corruption's own
    options."""

    kind: str
    share: Annotated[float, Field(ge=0, le=1)]


class DataSpec(Section):
    """The source of the texts (exactly one of `corpus`, `path`, `hub`), and the test texts.

    `path` is a file, a folder of files, a pattern such as `owners/*.jsonl`, or a list of these.

    `text` names a column, or is a template over columns such as `"{question}"`; `answer` likewise adds a second
    part, and `loss_on: answer` takes the loss on it alone. A column of chats is written by the tokenizer's chat
    template, or by that in the file `template`. `end` says what ends with the tokenizer's end-of-text token: every
    `answer`, `all` texts or `none`. `test` is a share of the rows, or names a file (with `path`) or a split (with `hub`
    or a saved dataset). `subset` is what the hub calls a configuration, for data sets that come in several. `corrupt`
    corrupts a share of the texts that are trained on.
    """

    OMIT_IF_DEFAULT = ("subset", "end", "template")

    corpus: Choice | None = None
    path: str | Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    hub: str | None = None
    subset: str | None = None
    split: str = "train"
    text: str = "text"
    answer: str | None = None
    loss_on: Literal["all", "answer"] = "all"
    end: Literal["answer", "all", "none"] = "answer"
    template: str | None = None
    test: Annotated[float, Field(gt=0, lt=1)] | str = 0.1
    limit: PositiveInt | None = None
    corrupt: CorruptSpec | None = None

    @model_validator(mode="before")
    @classmethod
    def _first_name(cls, value: object) -> object:
        """Take `spoil` for `corrupt`, as canonical JSON has it."""
        if isinstance(value, Mapping) and "spoil" in value and "corrupt" not in value:
            return {"corrupt" if key == "spoil" else key: held for key, held in value.items()}
        return value

    @model_validator(mode="before")
    @classmethod
    def _default_corpus(cls, value: object) -> object:
        if isinstance(value, Mapping) and not any(key in value for key in ("corpus", "path", "hub")):
            return {**value, "corpus": "docstrings"}
        return value

    @model_validator(mode="after")
    def _one_source(self) -> "DataSpec":
        given = [key for key in ("corpus", "path", "hub") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of corpus, path and hub, not {' and '.join(given) or 'none'}")
        if self.subset is not None and self.hub is None:
            raise ValueError("subset is of a data set of the hub; leave it out")
        if self.loss_on == "answer" and self.answer is None and "{" in self.text:
            raise ValueError("loss_on: answer needs an answer column or template")
        return self
