"""Values that a model knows, read off the layers that take its inputs straight.

Layers are recognized by the names of their classes, so that no version of Keras is imported.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from model.formats.id_range import flat, takes
from model.signature import TensorSpec

log = logging.getLogger(__name__)

Sample = int | str

MAX_SAMPLES: Final = 12
MAX_CHARACTERS: Final = 64  # of a word; longer ones make no example that one can read
WORDS_OF_TEXTS: Final = (3, 2, 4, 1)  # of different lengths, as texts of clients are
PASSED_ON: Final = frozenset(  # layers that change the shape alone
    {"Reshape", "Flatten", "Permute", "Dropout", "Identity", "ExpandDims", "Squeeze"}
)


def samples_of(model: Any, tensor: Any, spec: TensorSpec) -> tuple[Sample, ...]:
    """Return a few values of `tensor`, an input of `model`, that all layers which take it know.

    Of a text, they are a few words. Nothing is returned for an input that takes any value, or
    whose layers have no value in common.
    """
    try:
        known = [list(_usable(values, spec)) for values in _known(model, tensor)]
    except Exception as error:  # Keras raises many; without samples other values are tried
        log.debug("no vocabulary of %s can be read: %s", spec.name, error)
        return ()
    if not known:
        return ()
    rest = [set(values) for values in known[1:]]
    common = (value for value in known[0] if all(value in values for values in rest))
    return tuple(value for value, _ in zip(common, range(MAX_SAMPLES), strict=False))


def _known(model: Any, tensor: Any) -> list[Sequence[Sample]]:
    """Return the values that each layer knows which `tensor` goes straight into."""
    found: list[Sequence[Sample]] = []
    for layer in model.layers:
        if not takes(layer, tensor):
            continue
        name = type(layer).__name__
        if name in PASSED_ON:
            for passed in _outputs_for(layer, tensor):
                found += _known(model, passed)
        elif name in READERS:
            found.append(READERS[name](layer))
        elif hasattr(layer, "layers") and len(layer.inputs) == 1:
            found += _known(layer, layer.inputs[0])
    return [values for values in found if values]


def _outputs_for(layer: Any, tensor: Any) -> Iterable[Any]:
    for node in layer._inbound_nodes:
        if any(each is tensor for each in flat(node.input_tensors)):
            yield from flat(node.output_tensors)


def _usable(values: Iterable[Sample], spec: TensorSpec) -> Iterable[Sample]:
    """Leave out what the input cannot hold, and words that are too long for an example."""
    for value in values:
        if isinstance(value, str):
            if spec.dtype == "string" and 0 < len(value) <= MAX_CHARACTERS:
                yield value
        elif spec.dtype not in {"string", "bool"} and (
            spec.maximum is None or 0 <= value <= spec.maximum
        ):
            yield value


def _lookup(layer: Any) -> Sequence[Sample]:
    """Words or numbers that a StringLookup or IntegerLookup finds; ids, if it is inverted."""
    words = layer.get_vocabulary(include_special_tokens=False)
    if layer.invert:
        return range(1, min(len(words), MAX_SAMPLES) + 1)
    return [str(word) if isinstance(word, str) else int(word) for word in words]


def _texts(layer: Any) -> Sequence[Sample]:
    """Texts of a few words each that a TextVectorization finds."""
    words = layer.get_vocabulary(include_special_tokens=False)
    words = [str(word) for word in words if 0 < len(word) <= MAX_CHARACTERS][: 4 * MAX_SAMPLES]
    config = layer.get_config()
    separator = {"whitespace": " ", "character": ""}.get(config.get("split"))
    if separator is None or not words:  # a text is one word, or is split by the user's own code
        return words
    texts, start = [], 0
    for number in range(MAX_SAMPLES):
        count = WORDS_OF_TEXTS[number % len(WORDS_OF_TEXTS)]
        chosen = [words[place % len(words)] for place in range(start, start + count)]
        text = separator.join(chosen)
        texts.append(text if len(text) <= MAX_CHARACTERS else words[start % len(words)])
        start += count
    return list(dict.fromkeys(texts))


def _embedded(layer: Any) -> Sequence[Sample]:
    """Ids that are not masked; without a mask any id will do."""
    return range(1, min(int(layer.input_dim), MAX_SAMPLES + 1)) if layer.mask_zero else ()


def _encoded(layer: Any) -> Sequence[Sample]:
    """Numbers that a CategoryEncoding or IntegerEncoding has a place for."""
    tokens = layer.get_config().get("num_tokens")
    return range(min(int(tokens), MAX_SAMPLES)) if tokens else ()


READERS: Final[dict[str, Callable[[Any], Sequence[Sample]]]] = {
    "StringLookup": _lookup,
    "IntegerLookup": _lookup,
    "TextVectorization": _texts,
    "Embedding": _embedded,
    "CategoryEncoding": _encoded,
}
