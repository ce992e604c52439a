"""Parts of schemas that occur often, each written once.

A model with 100 inputs of one shape has the schema of that shape several hundred times in its
protocols.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final

from server.openapi.parts import Schema, ref

WORTH_BYTES: Final = 1024  # a part is shared if this saves so much
REFERENCE_BYTES: Final = 45

# The keywords of the schemas of dialects that contain schemas.
_BY_NAME: Final = ("properties",)
_IN_A_LIST: Final = ("anyOf", "prefixItems")
_ALONE: Final = ("items",)


def share(schemas: Mapping[str, Schema]) -> dict[str, Schema]:
    """Return the schemas with references to shared parts, and these parts as further schemas.

    Every schema still accepts what it accepted.
    """
    parts = _Parts(schemas)
    shared = {name: parts.named(name, schema) for name, schema in schemas.items()}
    return shared | {name: parts.named(name, schema) for name, schema in parts.common.items()}


class _Parts:
    """The parts of some schemas, and the names of those that are worth sharing.

    Attributes:
        common: the shared parts that are none of the schemas themselves, by name.
    """

    def __init__(self, schemas: Mapping[str, Schema]) -> None:
        self.common: dict[str, Schema] = {}
        self._ids: dict[Hashable, int] = {}
        self._known: dict[int, int] = {}  # by the address of an object
        self._counts: Counter[int] = Counter()
        self._names: dict[int, str] = {}
        seen: dict[int, Schema] = {}
        for name, schema in schemas.items():
            self._count(schema, seen)
            self._names.setdefault(self._id_of(schema), name)
        for id_, schema in seen.items():
            if id_ not in self._names and _saved(schema, self._counts[id_] - 1) > WORTH_BYTES:
                self._names[id_] = name = f"Part{len(self.common) + 1}"
                self.common[name] = schema

    def named(self, name: str, schema: Schema) -> Schema:
        """Return the schema for a name: a reference, if an equal one has another name."""
        first = self._names[self._id_of(schema)]
        return self._inside(schema) if first == name else ref("schemas", first)

    def _inside(self, schema: Schema) -> Schema:
        return _with_parts(schema, self._referred)

    def _referred(self, schema: Schema) -> Schema:
        name = self._names.get(self._id_of(schema))
        return ref("schemas", name) if name else self._inside(schema)

    def _count(self, schema: Schema, seen: dict[int, Schema]) -> None:
        """Count a schema; what is in it is counted once, as it will be written once."""
        id_ = self._id_of(schema)
        self._counts[id_] += 1
        if id_ not in seen:
            seen[id_] = schema
            for part in _parts_of(schema):
                self._count(part, seen)

    def _id_of(self, node: Any) -> int:
        """Return a number: the same one for equal JSON."""
        if not isinstance(node, dict | list):
            return self._ids.setdefault((type(node), node), len(self._ids))
        if id(node) not in self._known:
            items = node.items() if isinstance(node, dict) else enumerate(node)
            key = (type(node), *((name, self._id_of(value)) for name, value in items))
            self._known[id(node)] = self._ids.setdefault(key, len(self._ids))
        return self._known[id(node)]


def _saved(schema: Schema, repeated: int) -> int:
    """Return how many bytes references in place of all but one copy save."""
    return repeated and repeated * (len(json.dumps(schema)) - REFERENCE_BYTES)


def _parts_of(schema: Schema) -> list[Schema]:
    parts: list[Schema] = []

    def collect(part: Schema) -> Schema:
        parts.append(part)
        return part

    _with_parts(schema, collect)
    return parts


def _with_parts(schema: Schema, change: Callable[[Schema], Schema]) -> Schema:
    """Return a copy of a schema whose direct parts are changed."""
    changed = dict(schema)
    for key in schema.keys() & {*_BY_NAME, *_IN_A_LIST, *_ALONE}:
        parts = schema[key]
        if key in _BY_NAME:
            changed[key] = {name: change(part) for name, part in parts.items()}
        elif key in _IN_A_LIST:
            changed[key] = [change(part) for part in parts]
        else:
            changed[key] = change(parts)
    return changed
