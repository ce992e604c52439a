"""Has Keras build a model from the config that was checked, in place of the one in the file."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def build_from(config: dict[str, Any], module: Any, name: str) -> Iterator[None]:
    """Replace the config that `module.name`, a function of Keras, is called with.

    The first call gets `config`; it is the one for the whole model. Keras has no public way to
    load a file with another config.
    """
    original = getattr(module, name)

    def build(_given: Any, *arguments: Any, **options: Any) -> Any:
        setattr(module, name, original)
        return original(copy.deepcopy(config), *arguments, **options)

    setattr(module, name, build)
    try:
        yield
    finally:
        setattr(module, name, original)
