"""The recommended settings as a file that `--config` takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from server.config import BatchingSettings

TRIED = ("max_rows", "max_wait_ms", "max_queue_ms")


def settings_yaml(chosen: Mapping[str, float], reasons: Sequence[str]) -> str:
    """Return the text of the file: the reasons, then every tested setting, including defaults."""
    defaults = BatchingSettings()
    comments = "".join(f"# {line}\n" for reason in reasons for line in reason.splitlines())
    lines = [_line(key, chosen.get(key, getattr(defaults, key)), key in chosen) for key in TRIED]
    return f"{comments}batching:\n{''.join(lines)}"


def _line(key: str, value: float | str, is_chosen: bool) -> str:
    text = value if isinstance(value, str) else f"{value:g}"
    return f"  {key}: {text}{'' if is_chosen else '  # the default'}\n"
