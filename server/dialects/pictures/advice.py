"""What is said of pictures to a model whose settings do not tell how to read them."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from model.signature import Signature
from server.dialects.pictures.plan import suggestion

_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_WORDS: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


def setting_for(signature: Signature) -> str:
    """Return sentences with the settings for pictures; "" if no input can be one."""
    inputs: dict[str, Any] = {}
    for spec in signature.inputs:
        inputs |= suggestion(spec) or {}
    if not inputs:
        return ""
    shown = _yaml({"model": {"inputs": inputs}})
    return (
        "To take pictures, the service needs a setting that says what the model was trained on. "
        f"This is the one for this model, to be changed where its training differs: {shown}. "
        "Where the model was trained with preprocess_input of Keras, write, for example, "
        "preset: keras.applications.mobilenet_v2 in place of scale and offset."
    )


def _yaml(value: Any) -> str:
    """Return settings on one line, as they can be put into config.yaml."""
    if isinstance(value, dict):
        items = [f"{_yaml(key)}: {_yaml(item)}" for key, item in value.items()]
        return f"{{{', '.join(items)}}}"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return json.dumps(value)
