"""Random valid requests, generated from the schema that the server publishes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

import orjson

Schema = Mapping[str, Any]
Draw = Callable[[], Any]

USUAL_NUMBERS = (-10.0, 10.0)
USUAL_INTEGERS = {"int8": (0, 127), "uint8": (0, 255)}  # by format; others up to 999
WORDS = ("a", "the", "and", "good", "bad", "some", "other", "word", "film", "day", "naïve", "?")
VARIABLE_SIZES = 8  # number of different sizes for a dimension without bounds
LOWER = ("minimum", "exclusiveMinimum")
UPPER = ("maximum", "exclusiveMaximum")
POOL_BYTES = 32 * 2**20


class PayloadError(Exception):
    """The server's OpenAPI document does not describe the request; the message is one line."""


class Payload:
    """Generates the `data` of requests from an OpenAPI 3.1 document."""

    def __init__(self, document: Schema, path: str) -> None:
        """Find the schema of the request of `POST path`; raises PayloadError."""
        self._document = document
        body = self._resolve(_request_schema(document, path))
        data = self._resolve(body.get("properties", {}).get("data"))
        forms = data.get("anyOf") or data.get("oneOf") or [data]
        self._single: Schema = min(map(self._resolve, forms), key=self._depth)
        self._drawer(self._single, Random())  # raises PayloadError if the schema is unsupported

    def draw(self, random: Random, rows: int = 1) -> Any:
        """Return one example, or a batch of `rows` > 1 examples of the same shape."""
        example = self._drawer(self._single, random)
        if rows == 1:
            return example()
        batch = [example() for _ in range(rows)]
        if not isinstance(batch[0], dict):
            return batch
        return {name: [row[name] for row in batch] for name in batch[0]}

    def _resolve(self, schema: Any) -> Schema:
        while isinstance(schema, dict) and "$ref" in schema:
            schema = _look_up(self._document, schema["$ref"])
        if not isinstance(schema, dict):
            raise PayloadError("the schema of the request has no property data, or an empty one")
        return schema

    def _depth(self, schema: Schema) -> int:
        """Return how deep arrays are nested; a batch is one level deeper than an example."""
        schema = self._resolve(schema)
        if "items" in schema:
            return 1 + self._depth(schema["items"])
        return max(map(self._depth, schema.get("properties", {}).values()), default=0)

    def _drawer(self, schema: Schema, random: Random) -> Draw:
        """Choose all sizes, so that arrays are rectangular; return a function that draws values."""
        schema = self._resolve(schema)
        if "const" in schema or "enum" in schema:
            choices = schema.get("enum") or [schema["const"]]
            return lambda: random.choice(choices)
        if "anyOf" in schema or "oneOf" in schema:
            return self._drawer((schema.get("anyOf") or schema["oneOf"])[0], random)
        match _type(schema):
            case "array":
                return self._array(schema, random)
            case "object":
                return self._object(schema, random)
            case "number":
                return _number(schema, random)
            case "integer":
                return _integer(schema, random)
            case "boolean":
                return lambda: random.random() < 0.5
            case "string":
                return lambda: " ".join(random.choices(WORDS, k=random.randint(1, 8)))
            case other:
                raise PayloadError(f"cannot generate data of the type {other}")

    def _array(self, schema: Schema, random: Random) -> Draw:
        item = self._drawer(schema.get("items", {}), random)
        least = schema.get("minItems", 1)
        most = min(schema.get("maxItems", least + VARIABLE_SIZES - 1), least + VARIABLE_SIZES - 1)
        size = random.randint(least, most)
        return lambda: [item() for _ in range(size)]

    def _object(self, schema: Schema, random: Random) -> Draw:
        properties = schema.get("properties", {})
        members = {name: self._drawer(each, random) for name, each in properties.items()}
        return lambda: {name: draw() for name, draw in members.items()}


def draw_pool(payload: Payload, requests: int, rows: int, seed: int) -> list[Any]:
    """Return the data of up to `requests` requests, all different if the schema allows it.

    Their size as JSON is limited to about POOL_BYTES.
    """
    random = Random(seed)
    pool: list[Any] = []
    seen: set[bytes] = set()
    size = 0
    while len(pool) < requests and size < POOL_BYTES:
        for _ in range(8):
            data = payload.draw(random, rows)
            encoded = orjson.dumps(data)
            if encoded not in seen:
                break
        seen.add(encoded)
        size += len(encoded)
        pool.append(data)
    return pool


def encode(data: Any) -> bytes:
    """Return the body of a request."""
    return orjson.dumps({"data": data})


def _request_schema(document: Schema, path: str) -> Any:
    paths = document.get("paths", {})
    try:
        return paths[path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    except (KeyError, TypeError):
        known = ", ".join(name for name, item in paths.items() if "post" in item) or "none"
        raise PayloadError(
            f"openapi.json describes no JSON request for POST {path} (paths with POST: {known})"
        ) from None


def _look_up(document: Schema, reference: str) -> Any:
    """Follow a JSON pointer into the same document (RFC 6901)."""
    target: Any = document
    try:
        for part in reference.removeprefix("#/").split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]
    except (KeyError, TypeError):
        raise PayloadError(f"openapi.json: unresolved reference {reference}") from None
    return target


def _type(schema: Schema) -> Any:
    kind = schema.get("type")
    if isinstance(kind, list):
        return next((each for each in kind if each != "null"), None)
    return kind


def _number(schema: Schema, random: Random) -> Draw:
    low, high = _range(schema, USUAL_NUMBERS)
    inset = (high - low) / 100
    low += inset * ("exclusiveMinimum" in schema)
    high -= inset * ("exclusiveMaximum" in schema)
    # A float32 represents any six digits exactly enough to print them again.
    return lambda: float(f"{random.uniform(low, high):.6g}")


def _integer(schema: Schema, random: Random) -> Draw:
    low, high = _range(schema, USUAL_INTEGERS.get(schema.get("format", ""), (0, 999)))
    low += low == schema.get("exclusiveMinimum")
    high -= high == schema.get("exclusiveMaximum")
    return lambda: random.randint(int(low), int(high))


def _range(schema: Schema, usual: Sequence[float]) -> tuple[float, float]:
    """Return the part of the usual range that the schema allows, or the nearest allowed range."""
    least = max((schema[key] for key in LOWER if key in schema), default=-math.inf)
    most = min((schema[key] for key in UPPER if key in schema), default=math.inf)
    span = usual[1] - usual[0]
    return max(least, min(usual[0], most - span)), min(most, max(usual[1], least + span))
