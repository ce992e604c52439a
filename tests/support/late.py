"""Modules that are imported when a test first uses them."""

from __future__ import annotations

from importlib import import_module
from typing import Any


class Late:
    """Stands for a module; collecting the tests of a file then does not import TensorFlow."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute in ("_mock_name", "__wrapped__"):  # pytest looks for them while it collects
            raise AttributeError(attribute)
        return getattr(import_module(self._name), attribute)
