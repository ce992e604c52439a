"""Protobuf's text form, as far as the configuration files of TensorFlow Serving need it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

# The fields of a message by name, each with its values: texts, and messages.
Message = dict[str, list[Any]]

_SPACE: Final = r"(?:\s|#.*)*"
_WORD: Final = re.compile(
    rf"{_SPACE}(?:([A-Za-z_]\w*)|(-?\d+)|"
    r"""("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|([{}<>\[\]:,;]))"""
)
_REST: Final = re.compile(_SPACE)


class TextProtoError(Exception):
    """What is wrong with a file in text form."""


def parse(text: str) -> Message:
    """Return the fields of a message; raises TextProtoError."""
    return _message(_words(text), "")


def _words(text: str) -> Iterator[str]:
    position = 0
    while (word := _WORD.match(text, position)) is not None:
        position = word.end()
        yield word[word.lastindex or 0]
    if _REST.fullmatch(text, position) is None:
        line = text.count("\n", 0, position) + 1
        raise TextProtoError(f"line {line} is not protobuf's text form")


def _message(words: Iterator[str], end: str) -> Message:
    """Read the fields of a message up to its end; each may be there several times."""
    found: Message = {}
    for name in words:
        if name == end:
            return found
        if name in (",", ";"):
            continue
        word = next(words, "")
        if word == ":":
            word = next(words, "")
        if word == "[":
            found.setdefault(name, []).extend(_values(words))
        else:
            found.setdefault(name, []).append(_value(word, words))
    if end:
        raise TextProtoError(f"a {end} is missing at the end")
    return found


def _values(words: Iterator[str]) -> Iterator[Any]:
    for word in words:
        if word == "]":
            return
        if word != ",":
            yield _value(word, words)
    raise TextProtoError("a ] is missing at the end")


def _value(word: str, words: Iterator[str]) -> Any:
    if word in ("{", "<"):
        return _message(words, "}" if word == "{" else ">")
    if not word or word in "}>]:,;":
        raise TextProtoError("a value is missing")
    return word[1:-1] if word[0] in "\"'" else word
