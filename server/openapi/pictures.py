"""How a model that takes pictures is asked: media types and examples."""

from __future__ import annotations

from typing import Any, Final

from server.dialects.native.pictures import FORM, IMAGE_TYPES
from server.dialects.native.schema import part_schemas
from server.dialects.table import NATIVE, V2, DialectEntry
from server.openapi.parts import binary_content
from server.serving.served_model import ServedModel

# A PNG of one brown pixel.
PNG: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGM4UaEBAAN0AWnL+tDXAAAAAElFTkSuQmCC"
)
FILE: Final = {"b64": PNG}
ONE_PICTURE: Final = "one picture"


def names_of(model: ServedModel) -> tuple[str, ...]:
    """Return the inputs that take pictures, in the order of the signature."""
    plans = model.dialects.pictures.plans
    return tuple(spec.name for spec in model.signature.inputs if spec.name in plans)


def content_of(model: ServedModel) -> dict[str, Any]:
    """Return the bodies of the native dialect that are pictures, or have them as parts."""
    names = names_of(model)
    if not names:
        return {}
    inputs = model.signature.inputs
    pictures: dict[str, Any] = {}
    if len(inputs) == 1:
        for media_type in IMAGE_TYPES:
            pictures |= binary_content(media_type)
    parts = part_schemas(inputs, frozenset(names))
    form = {"type": "object", "properties": parts, "required": list(parts)}
    return pictures | {FORM: {"schema": form}}


def examples_of(model: ServedModel, entry: DialectEntry) -> dict[str, dict[str, Any]]:
    """Return an example with a picture by its name as component, if that is all a request needs."""
    names = names_of(model)
    if len(names) != 1 or len(model.signature.inputs) > 1:
        return {}
    [name] = names
    if entry is NATIVE:
        value: dict[str, Any] = {"data": FILE}
    elif entry is V2:
        tensor = {"name": name, "datatype": "BYTES", "shape": [1], "data": [PNG]}
        value = {"inputs": [tensor]}
    else:
        value = {"instances": [FILE]}
    example = {"summary": ONE_PICTURE, "value": value}
    return {"-".join([entry.name, *ONE_PICTURE.split(), "request"]): example}


def about(model: ServedModel) -> str:
    """Return what is said of pictures in the native dialect; "" if the model takes none."""
    names = names_of(model)
    if not names:
        return ""
    listed = ", ".join(f"`{name}`" for name in names)
    return (
        f"Pictures (JPEG, PNG, WebP, BMP, GIF) are accepted for {listed}: as the body if the "
        f'model has one input, as parts of `{FORM}`, or in JSON as `{{"b64": "…"}}`.'
    )
