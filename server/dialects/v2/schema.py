"""The JSON Schemas of the Open Inference Protocol, for validation and for the documentation."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from model.signature import Signature, TensorSpec
from server.dialects.cells import numbers
from server.dialects.v2.documents import datatype
from server.dialects.validation import Schema

# Clients that write every field of their data classes send null for what is absent.
_PARAMETERS: Final[Schema] = {"type": ["object", "null"]}
ENVELOPE: Final[Schema] = {
    "type": "object",
    "properties": {
        "id": {"type": ["string", "null"]},
        "parameters": _PARAMETERS,
        "inputs": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "shape": {"type": "array", "items": {"type": "integer"}},
                    "datatype": {"type": "string"},
                    "parameters": _PARAMETERS,
                    "data": {"type": "array"},
                },
                "required": ["name", "shape", "datatype"],
            },
        },
        "outputs": {
            "type": ["array", "null"],
            "items": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "parameters": _PARAMETERS},
                "required": ["name"],
            },
        },
    },
    "required": ["inputs"],
}


def request_schema(signature: Signature) -> Schema:
    """Return the schema of a request in JSON, for the documentation."""
    tensors = [
        _tensor_schema(spec, numbers.array_schema(spec, batch=True)) for spec in signature.inputs
    ]
    properties = dict(ENVELOPE["properties"])
    count = len(tensors)
    properties["inputs"] = {
        "type": "array",
        "items": tensors[0] if count == 1 else {"anyOf": tensors},
        "minItems": count,
        "maxItems": count,
    }
    properties["outputs"] = _outputs_schema([spec.name for spec in signature.outputs])
    return {**ENVELOPE, "properties": properties}


def _outputs_schema(names: list[str]) -> Schema:
    """Return the schema of the outputs that a request names."""
    asked = ENVELOPE["properties"]["outputs"]
    item = asked["items"]
    return {
        **asked,
        "items": {**item, "properties": {**item["properties"], "name": {"enum": names}}},
        "maxItems": len(names),  # each at most once
    }


def answer_schema(outputs: tuple[TensorSpec, ...], *, nullable: bool) -> Schema:
    """Return the schema of an answer in JSON, for the documentation."""
    tensors = []
    for spec in outputs:
        flat = numbers.array_schema(replace(spec, shape=()), batch=True, nullable=nullable)
        tensors.append(_tensor_schema(spec, None, flat))
    if numbers_ := [spec.name for spec in outputs if spec.array_dtype.kind in "fiu"]:
        tensors.append(_classes_schema(numbers_))
    return {
        "type": "object",
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string"},
            "id": {"type": "string"},
            "outputs": {
                "type": "array",
                "items": tensors[0] if len(tensors) == 1 else {"anyOf": tensors},
            },
        },
        "required": ["model_name", "model_version", "outputs"],
    }


def _classes_schema(names: list[str]) -> Schema:
    """Return the schema of outputs whose classes are asked for: strings, k of each row."""
    size = {"type": "integer", "minimum": 1}
    return {
        "title": "classes, such as 0.930000:281:tabby",
        "type": "object",
        "properties": {
            "name": {"enum": names},
            "shape": {"type": "array", "items": size, "minItems": 2, "maxItems": 2},
            "datatype": {"const": "BYTES"},
            "parameters": _PARAMETERS,
            "data": {"type": "array", "items": {"type": "string"}},
        },
        "required": ["name", "shape", "datatype"],
    }


def _tensor_schema(spec: TensorSpec, nested: Schema | None, flat: Schema | None = None) -> Schema:
    flat = flat or numbers.array_schema(replace(spec, shape=()), batch=True)
    data = flat if nested is None or nested == flat else {"anyOf": [flat, nested]}
    sizes: list[Schema] = [{"type": "integer", "minimum": 1}]
    sizes += [
        {"type": "integer", "minimum": 1} if size is None else {"const": size}
        for size in spec.shape
    ]
    return {
        "type": "object",
        "properties": {
            "name": {"const": spec.name},
            "shape": {
                "type": "array",
                "prefixItems": sizes,
                "minItems": len(sizes),
                "maxItems": len(sizes),
            },
            "datatype": {"const": datatype(spec.dtype)},
            "parameters": _PARAMETERS,
            "data": data,
        },
        "required": ["name", "shape", "datatype"],
    }
