"""YAML with places: every value knows its line, so that an error can point at it.

PyYAML reads the text (its safe subset only); this module keeps the position of each node and
refuses what makes a configuration file ambiguous: duplicate keys, anchors, aliases and tags.

Example:
    >>> source = read_yaml(Path("a.yaml"), "a: {b: 1}")
    >>> source.value, source.place(("a", "b"))
    ({'a': {'b': 1}}, (1, 8))
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from assay.controls.errors import ProgrammeError

Step = str | int
T = TypeVar("T")


@dataclass(frozen=True)
class YamlSource:
    """A parsed file.

    Attributes:
        path: the file, for messages.
        value: what it says, built of dict, list, str, int, float, bool and None.
        places: the (line, column) of each value, counted from 1, by its path from the root.
        key_places: the same for each mapping key.
    """

    path: Path
    value: Any
    places: dict[tuple[Step, ...], tuple[int, int]]
    key_places: dict[tuple[Step, ...], tuple[int, int]]

    def place(self, steps: Sequence[Step]) -> tuple[int, int]:
        """Where a value stands, or the nearest value around it."""
        for length in range(len(steps), -1, -1):
            found = self.places.get(tuple(steps[:length]))
            if found:
                return found
        return (1, 1)

    def error(self, steps: Sequence[Step], problem: str) -> ProgrammeError:
        """An error that points at a value."""
        line, column = self.place(steps)
        return ProgrammeError(self.path, line, column, problem)

    def error_at_key(self, steps: Sequence[Step], problem: str) -> ProgrammeError:
        """An error that points at a mapping key."""
        line, column = self.key_places.get(tuple(steps), self.place(steps))
        return ProgrammeError(self.path, line, column, problem)

    def decode(self, kind: type[T]) -> T:
        """The value as a typed struct.

        Raises:
            ProgrammeError: at the first value that does not fit, with its line.
        """
        try:
            return msgspec.convert(self.value, kind, strict=True)
        except msgspec.ValidationError as exc:
            raise self._explain(str(exc), kind) from exc

    def _explain(self, message: str, kind: type) -> ProgrammeError:
        text, _, where = message.partition(" - at `")
        steps = _steps(where.removesuffix("`"))
        unknown = re.fullmatch(r"Object contains unknown field `(.*)`", text)
        if unknown:
            name = unknown[1]
            known = sorted(_known_fields(kind, steps, self._tagged(steps)))
            near = get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            return self.error_at_key(
                [*steps, name], f"expected one of {', '.join(known)}; found {name}{hint}"
            )
        missing = re.fullmatch(r"Object missing required field `(.*)`", text)
        if missing:
            return self.error(steps, f"expected the field {missing[1]}, found none")
        invalid = re.fullmatch(r"Invalid value '(.*)'", text)
        if invalid and steps and steps[-1] == "kind":
            kinds = ", ".join(("datastore", "bucket", "endpoint", "repository", "application"))
            return self.error(steps, f"expected a kind of asset ({kinds}), found {invalid[1]}")
        chosen = re.fullmatch(r"Invalid enum value '(.*)'", text)
        if chosen:
            return self.error(
                steps, f"expected one of the words that may stand here, found {chosen[1]}"
            )
        shaped = re.fullmatch(r"Expected `str` matching regex '(.*)'", text)
        if shaped:
            return self.error(
                steps, f"expected text of the form {shaped[1]}, found {self._at(steps)!r}"
            )
        expected = text[:1].lower() + text[1:].replace("`", "").replace(", got ", ", found ")
        return self.error(steps, expected)

    def _at(self, steps: Sequence[Step]) -> Any:
        value = self.value
        for step in steps:
            value = value[step]
        return value

    def _tagged(self, steps: Sequence[Step]) -> object:
        value = self._at(steps)
        return value.get("kind") if isinstance(value, dict) else None


def read_yaml(path: Path, text: str) -> YamlSource:
    """Parse YAML text and remember where everything stands.

    Args:
        path: the file's name, for messages.
        text: its content.

    Raises:
        ProgrammeError: not YAML, or YAML with duplicate keys, anchors, aliases or tags.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        _refuse_anchors(path, text)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise ProgrammeError(path, line, column, f"expected YAML: {exc.problem}") from exc
    except yaml.YAMLError as exc:
        raise ProgrammeError(path, 0, 0, f"expected YAML: {exc}") from exc
    except RecursionError as exc:
        raise ProgrammeError(path, 0, 0, "expected YAML of a sensible depth") from exc
    if root is None:
        raise ProgrammeError(path, 0, 0, "expected a mapping, found an empty file")
    source = YamlSource(path, None, {}, {})
    value = _Builder(path, source.places, source.key_places).build(root, ())
    return YamlSource(path, value, source.places, source.key_places)


def _refuse_anchors(path: Path, text: str) -> None:
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if getattr(event, "anchor", None) is not None:
            mark = event.start_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
            raise ProgrammeError(
                path, line, column, "expected plain YAML, found an anchor or alias"
            )


class _Builder:
    """Turns YAML nodes into values and notes their places."""

    def __init__(
        self,
        path: Path,
        places: dict[tuple[Step, ...], tuple[int, int]],
        key_places: dict[tuple[Step, ...], tuple[int, int]],
    ) -> None:
        self._path = path
        self._places = places
        self._key_places = key_places
        self._scalars = yaml.SafeLoader("")

    def build(self, node: yaml.Node, steps: tuple[Step, ...]) -> object:
        """The value of a node."""
        self._places[steps] = _place(node)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, steps)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*steps, n)) for n, item in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: yaml.MappingNode, steps: tuple[Step, ...]) -> dict[str, object]:
        mapping: dict[str, object] = {}
        for key_node, value_node in node.value:
            key = self._scalar(key_node) if isinstance(key_node, yaml.ScalarNode) else None
            if not isinstance(key, str):
                raise self._error(key_node, "expected a name as the key, found something else")
            if key in mapping:
                raise self._error(key_node, f"expected each key once, found {key} again")
            self._key_places[(*steps, key)] = _place(key_node)
            mapping[key] = self.build(value_node, (*steps, key))
        return mapping

    def _scalar(self, node: yaml.Node) -> object:
        if node.tag.startswith("tag:yaml.org,2002:") and node.tag.rsplit(":", 1)[1] in {
            "str", "int", "float", "bool", "null",
        }:  # fmt: skip
            try:
                return self._scalars.construct_object(node)
            except ValueError as exc:
                raise self._error(node, f"expected a value, found one out of range: {exc}") from exc
        if node.tag == "tag:yaml.org,2002:timestamp":
            return str(node.value)
        raise self._error(node, f"expected plain YAML, found the tag {node.tag}")

    def _error(self, node: yaml.Node, problem: str) -> ProgrammeError:
        line, column = _place(node)
        return ProgrammeError(self._path, line, column, problem)


def _place(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _steps(path: str) -> list[Step]:
    """``$.assets[2].url`` as ``["assets", 2, "url"]``."""
    found: list[Step] = []
    for name, index in re.findall(r"\.([^.\[\]]+)|\[(\d+)\]", path):
        found.append(name or int(index))
    return found


def _known_fields(kind: type, steps: Sequence[Step], tag: object) -> set[str]:
    """Names of the fields that the struct at hand may have."""
    names: set[str] = set()
    seen: set[type] = set()
    todo: list[Any] = [msgspec.inspect.type_info(kind)]
    here = _type_at(todo[0], steps)
    while todo:
        info = todo.pop()
        if isinstance(info, msgspec.inspect.StructType):
            if info.cls in seen:
                continue
            seen.add(info.cls)
            if (tag is None and info.cls is getattr(here, "cls", None)) or (
                tag is not None and info.tag == tag
            ):
                names |= {field.encode_name for field in info.fields}
                if info.tag_field:
                    names.add(info.tag_field)
            todo += [field.type for field in info.fields]
        for attribute in ("types", "item_types"):
            todo += getattr(info, attribute, ())
        if hasattr(info, "item_type"):
            todo.append(info.item_type)
    return names


def _type_at(info: Any, steps: Sequence[Step]) -> Any:
    """The type of what stands at a place: of several, the one that holds others."""
    for step in steps:
        if isinstance(step, int):
            inner = getattr(info, "item_type", None)
        else:
            fields = getattr(info, "fields", ())
            inner = next((field.type for field in fields if field.encode_name == step), None)
        several = getattr(inner, "types", (inner,))
        info = next((each for each in several if _holds_others(each)), None)
    return info


def _holds_others(info: Any) -> bool:
    return hasattr(info, "fields") or hasattr(info, "item_type")
