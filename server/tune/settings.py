"""The recommended settings as a file that `--config` takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from server.config import BatchingSettings, ModelSettings
from server.tune.candidates import Candidate

OF_MODEL = ("engine", "threads", "replicas")
OF_BATCHING = ("max_rows", "max_wait_ms", "max_queue_ms")


def settings_yaml(chosen: Candidate, reasons: Sequence[str]) -> str:
    """Return the text of the file: the reasons, then every tested setting, including defaults."""
    comments = "".join(f"# {line}\n" for reason in reasons for line in reason.splitlines())
    model = _section("model", OF_MODEL, ModelSettings(), chosen.model)
    return comments + model + _section("batching", OF_BATCHING, BatchingSettings(), chosen.settings)


def _section(name: str, keys: Sequence[str], defaults: object, chosen: Mapping[str, Any]) -> str:
    lines = [_line(key, chosen.get(key, getattr(defaults, key)), key in chosen) for key in keys]
    return f"{name}:\n{''.join(lines)}"


def _line(key: str, value: float | str, is_chosen: bool) -> str:
    text = value if isinstance(value, str) else f"{value:g}"
    return f"  {key}: {text}{'' if is_chosen else '  # the default'}\n"
