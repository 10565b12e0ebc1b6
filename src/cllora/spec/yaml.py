"""A strict reader of YAML: it refuses, by line, text that two readers would read differently, or not as it looks.

A plain value is a number, true, false or null as JSON knows them, and all else is text. What YAML 1.1 alone reads as
something else (`010` as 8, `1:30` as 90, `no` as false, `1_000`, a date), a key given twice, and an unquoted `{text}`,
which is a mapping, are refused.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import yaml

from cllora.errors import UsageError, one_line
from cllora.registry import without_commas
from cllora.spec.scalars import BREAKS, CURLY, plain_value, quoted

MOST_VALUES = 200_000
"""More values than any study has: aliases of aliases would fill the memory."""
DEFAULT_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("str", "seq", "map")}
STARTS_NO_TEXT = "{[*&@%`!|>\"',?"


@dataclass(frozen=True)
class Place:
    """The place and the characters of a value as it is written."""

    where: str
    raw: str
    value: object = None


def read_yaml(text: str, at: Callable[[int], str], prefix: str = "") -> tuple[object, dict[str, Place]]:
    """Plain data from one YAML document, and where each value is written.

    Args:
        at: what a line, counted from 1, is called.
        prefix: the path at which the data will stand.

    Raises:
        UsageError: it is not YAML, or may mean something else than it says.
    """
    reader = _Reader(text, at)
    return reader.read(prefix), reader.places


def _code(character: str | int) -> int:
    return character if isinstance(character, int) else ord(character)


class _Composer(yaml.BaseLoader):
    """A composer of nodes that leaves plain values unread, and sees `!!str` and unused anchors."""

    def __init__(self, text: str, fail: Callable[[yaml.Mark, str], UsageError]) -> None:
        super().__init__(text)
        self.anchored: dict[str, yaml.Mark] = {}
        self._fail = fail

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            self.anchored.pop(str(event.anchor), None)
        elif event.anchor is not None:
            if event.anchor in self.anchors:
                raise self._fail(event.start_mark, f"the anchor &{event.anchor} is given twice")
            self.anchored[event.anchor] = event.start_mark
        tag = getattr(event, "tag", None)
        if tag is not None and tag not in DEFAULT_TAGS | {"!"}:
            raise self._fail(event.start_mark, "a value that begins with ! names a type; leave that out")
        node = super().compose_node(parent, index)
        if isinstance(node, yaml.ScalarNode) and tag is not None and isinstance(event, yaml.ScalarEvent):
            node.style = '"'
        return node


class _Reader:
    """One document: from its text to plain data, with the place of everything."""

    def __init__(self, text: str, at: Callable[[int], str]) -> None:
        self._text = text
        self._at = at
        self.places: dict[str, Place] = {}
        self._open: set[int] = set()
        self._values = 0

    def read(self, prefix: str) -> object:
        self._refuse_breaks()
        try:
            composer = _Composer(self._text, lambda mark, message: self._fail(mark.line, message))
            node = composer.get_single_node()
            for name, mark in composer.anchored.items():
                raise self._fail(mark.line, f"&{name} is an anchor that nothing refers to; write text in quotes")
            return None if node is None else self._value(node, prefix, node)
        except yaml.reader.ReaderError as error:
            line = len(re.findall(r"\r\n|\n|\r", self._text[: error.position]))
            message = f"the character U+{_code(error.character):04X} has no place in YAML; take it out"
            raise self._fail(line, message) from None
        except yaml.MarkedYAMLError as error:
            raise self._not_yaml(error) from None
        except RecursionError:
            raise UsageError(f"{self._at(1)}: this is not YAML that can be read: too many brackets") from None

    def _refuse_breaks(self) -> None:
        """Refuse characters that end a line in YAML and in no editor: a comment would go on as a field."""
        broken = re.search(rf"[{BREAKS}]" + (r"|\r(?!\n)" if "\n" in self._text else ""), self._text)
        if broken:
            code = f"{ord(broken.group()):04X}"
            message = f'the character U+{code} ends a line for some readers only; take it out, or write "\\u{code}"'
            raise self._fail(len(re.findall(r"\r\n|\n|\r", self._text[: broken.start()])), message)

    def _fail(self, line: int, message: str) -> UsageError:
        return UsageError(f"{self._at(line + 1)}: {message}")

    def _not_yaml(self, error: yaml.MarkedYAMLError) -> UsageError:
        mark = error.problem_mark or error.context_mark
        line = mark.line if mark is not None else 0
        problem = one_line(ValueError(error.problem or error.context or "what stands here cannot be read"))
        if "another document" in problem:
            return self._fail(line, "a second document begins here; write one study per file")
        lines = re.split("\r\n|[\n\r]", self._text)
        for near in dict.fromkeys((line, error.context_mark.line if error.context_mark else line)):
            written = lines[min(near, len(lines) - 1)]
            if re.match(r" *\t", written):
                return self._fail(near, "this is not YAML: a line is indented with spaces, not tabs")
            if "'\\t'" in problem:
                return self._fail(near, "this is not YAML: a space goes behind a colon, not a tab")
            if curly := re.search(rf"[:\-,\[{{] *([{CURLY}])", written):
                return self._fail(near, f"{curly.group(1)} is no quote in YAML; write straight ones")
            matched = re.match(r"\s*(?:- +)*(?:[^\s:{\[\"'#][^:]*:\s+)?(\S.*?)\s*$", written)
            value = matched.group(1) if matched else ""
            whole = value[:1] not in "{[" or re.match(r"[{\[][^{}\[\]]*[}\]] *[^\s,]", value)
            if whole and (value[:1] in STARTS_NO_TEXT or ": " in value):
                return self._fail(near, f"this is not YAML: {problem}; write text in quotes: {quoted(value)}")
        return self._fail(line, f"this is not YAML: {problem}; text that begins with a sign goes in quotes")

    def _value(self, node: yaml.Node, path: str, key: yaml.Node) -> object:
        self._values += 1
        if self._values > MOST_VALUES:
            raise self._fail(node.start_mark.line, f"there are more than {MOST_VALUES:,} values here, by aliases (*)")
        if id(node) in self._open:
            raise self._fail(key.start_mark.line, "what stands here contains itself, by an alias (*)")
        if isinstance(node, yaml.ScalarNode):
            value = self._scalar(node)
        else:
            self._open.add(id(node))
            value = self._mapping(node, path) if isinstance(node, yaml.MappingNode) else self._list(node, path)
            self._open.discard(id(node))
        self.places[path] = Place(self._at(key.start_mark.line + 1), self._raw(node), value)
        return value

    def _list(self, node: yaml.Node, path: str) -> list[object]:
        return [self._value(item, f"{path}.{i}" if path else str(i), item) for i, item in enumerate(node.value)]

    def _mapping(self, node: yaml.MappingNode, path: str) -> dict[str, object]:
        """Keys are text as it is written; those that `<<` merges in are given too, so none can be there twice."""
        entries: dict[str, object] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or (key.style is None and key.value == ""):
                message = f"a key is a plain name, not {self._raw(key) or 'nothing'}; write text in quotes"
                raise self._fail(key.start_mark.line, f"{message}: {quoted(self._raw(node))}")
            if node.flow_style and value.start_mark.index == value.end_mark.index:
                if self._text[key.end_mark.index : value.end_mark.index + 1].lstrip().startswith(":"):
                    raise self._fail(key.start_mark.line, f"{key.value} has no value; write null for none")
                raw = self._raw(node)
                if mend := self._meant(key):
                    raise self._fail(key.start_mark.line, mend)
                message = f"{raw} without quotes is a mapping, of {key.value} to nothing"
                raise self._fail(key.start_mark.line, f"{message}; write text in quotes: {quoted(raw)}")
            for name, inner in self._merged(key, value) if key.style is None and key.value == "<<" else ((key, value),):
                if isinstance(name, yaml.ScalarNode) and name.style is None and name.value[:1] in tuple(CURLY):
                    raise self._fail(name.start_mark.line, f"{name.value[:1]} is no quote in YAML; write straight ones")
                if name.value in entries:
                    raise self._fail(name.start_mark.line, f"'{name.value}' is given twice; give it once")
                entries[name.value] = self._value(inner, f"{path}.{name.value}" if path else name.value, name)
        return entries

    def _meant(self, key: yaml.ScalarNode) -> str:
        """The text that was meant by a key without a value: `0.5`, `1000` or `r: 8`; else nothing."""
        before = re.search(r"[0-9][0-9,]*,$", self._text[: key.start_mark.index])
        if before and re.fullmatch(r"[0-9]+", key.value):
            written = before.group() + key.value
            return f"{written} is no number, as a comma ends a value; write {without_commas(written)}"
        if key.style is None and (near := re.fullmatch(r"([\w.]+):(\S.*)", key.value)):
            spaced = f"{near.group(1)}: {near.group(2)}"
            return f"{key.value} is one word; write a space behind the colon: {spaced}, or text in quotes"
        return ""

    def _merged(self, key: yaml.Node, value: yaml.Node) -> list[tuple[yaml.Node, yaml.Node]]:
        merged = value.value if isinstance(value, yaml.SequenceNode) else [value]
        if not all(isinstance(mapping, yaml.MappingNode) for mapping in merged):
            raise self._fail(key.start_mark.line, "<< takes a mapping by its alias, such as *this")
        if any(name.value == "<<" for mapping in merged for name, _ in mapping.value):
            raise self._fail(key.start_mark.line, "<< of a mapping that has << itself; write its fields out")
        return [pair for mapping in merged for pair in mapping.value]

    def _scalar(self, node: yaml.ScalarNode) -> object:
        if node.style is not None:
            return self._sound(node, node.value)
        cut = re.match(r"[ \t]+#(.*)", self._text[node.end_mark.index :])
        try:
            value = plain_value(node.value)
        except ValueError as error:
            raise self._fail(node.start_mark.line, str(error)) from None
        if cut and isinstance(value, str) and (cut.group(1)[:1] not in ("", " ") or "{" in cut.group(1)):
            raise self._fail(
                node.end_mark.line,
                f"what follows ' #' is a comment; write text in quotes: {quoted(node.value + cut.group().rstrip())}, "
                "and a comment with a space behind its #",
            )
        return self._sound(node, value)

    def _sound(self, node: yaml.ScalarNode, value: object) -> object:
        if isinstance(value, str) and re.search("[\ud800-\udfff\0]", value):
            raise self._fail(
                node.start_mark.line, "half a character (a surrogate) or NUL is no text; write it as it is"
            )
        return value

    def _raw(self, node: yaml.Node) -> str:
        return self._text[node.start_mark.index : node.end_mark.index].strip()
