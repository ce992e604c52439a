"""Why a body is not JSON, and what to send instead."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

import orjson

from model.signature import TensorSpec

MAX_INPUTS: Final = 300  # characters
_NON_FINITE: Final = re.compile(r"NaN|-?Infinity|nan|-?inf")
_IMAGES: Final = (
    (re.compile(rb"\x89PNG\r\n"), "PNG"),
    (re.compile(rb"\xff\xd8\xff"), "JPEG"),
    (re.compile(rb"GIF8[79]a"), "GIF"),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), "WebP"),
)
_FORM: Final = re.compile(rb"--[^\r\n]{1,72}\r?\n(?i:Content-)")


class Advice(NamedTuple):
    """What a dialect tells the sender of a body that is not JSON.

    Attributes:
        non_finite: what to send instead of NaN and infinity.
        file: what to send instead of a file.
        picture: the same for a picture.
    """

    non_finite: str
    file: str
    picture: str


def advice(inputs: Sequence[TensorSpec], arrays: str, picture: str = "") -> Advice:
    """Return the advice of a dialect; `arrays` says how it takes numbers that are not in JSON.

    `picture` is what it says of pictures if the model takes some, or might.
    """
    file = f"This model takes {shown(inputs)}. Send the values as JSON, or {arrays}."
    return Advice(
        "Send a value that the model takes instead (null is not accepted), "
        f"or {arrays}, where NaN and infinity are kept.",
        file,
        f"{file} {picture}" if picture else file,
    )


def shown(inputs: Sequence[TensorSpec]) -> str:
    """Return the inputs of a model for messages, shortened if there are many."""
    text = ", ".join(map(str, inputs))
    return text if len(text) <= MAX_INPUTS else text[: MAX_INPUTS - 1] + "…"


def explain(body: bytes | memoryview, error: orjson.JSONDecodeError, advice: Advice) -> str:
    """Return why a body is not JSON: an image, a form, a NaN, or what the parser says."""
    start = bytes(body[:100])
    for signature, name in _IMAGES:
        if signature.match(start):
            return f"The body is an image ({name}), not JSON. {advice.picture}"
    if _FORM.match(start):
        return f"The body is a form (multipart/form-data), not JSON. {advice.picture}"
    if token := _non_finite_at(error):
        return (
            f"JSON has no {token} (line {error.lineno} column {error.colno}). {advice.non_finite}"
        )
    return f"The body is not valid JSON: {error}"


def _non_finite_at(error: orjson.JSONDecodeError) -> str:
    """Return the NaN or infinity where the parser stopped, or ""."""
    for position in (error.pos - 1, error.pos):  # it may have read the sign
        if position >= 0 and (found := _NON_FINITE.match(error.doc, position)):
            return found[0]
    return ""
