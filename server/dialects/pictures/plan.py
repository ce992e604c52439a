"""What a picture has to become for one input: size, channels, and what is done to pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from model.signature import TensorSpec
from server.config import ConfigError
from server.config.inputs import PRESETS, UNCHANGED, ImageSettings

_COLORS: Final = {1: ("grayscale",), 3: ("rgb", "bgr"), 4: ("rgba",)}
_NO_VALUES: Final = ImageSettings()


class Axes(NamedTuple):
    """The axes of an input that may hold a picture.

    Attributes:
        height: in pixels; None if it is open. So is `width`.
        has_channels: whether there is an axis of channels; else a picture is grey.
        is_channels_first: whether that axis is the first one.
    """

    height: int | None
    width: int | None
    channels: int
    has_channels: bool = True
    is_channels_first: bool = False


@dataclass(frozen=True)
class PicturePlan:
    """How pictures become rows of one input.

    Attributes:
        height: of a row; None: that of the picture. So is `width`.
        color: one of COLORS.
        mode: what the preset does to pixels, as `preprocess_input` calls it; "": nothing.
    """

    spec: TensorSpec
    axes: Axes
    settings: ImageSettings
    height: int | None
    width: int | None
    color: str
    mode: str


def axes_of(spec: TensorSpec) -> Axes | None:
    """Return the axes of an input if its shape and dtype may be those of a picture."""
    if spec.array_dtype.kind not in "fiu":
        return None
    match spec.shape:
        case (height, width):
            return Axes(height, width, 1, has_channels=False)
        case (height, width, int(channels)) if channels in _COLORS:
            return Axes(height, width, channels)
        case (int(channels), height, width) if channels in _COLORS:
            return Axes(height, width, channels, is_channels_first=True)
    return None


def plan_of(spec: TensorSpec, settings: ImageSettings) -> PicturePlan:
    """Return how pictures become rows of an input; raises ConfigError if they cannot."""
    where = f"inputs.{spec.name}.image"
    axes = axes_of(spec)
    if axes is None:
        raise ConfigError(
            f"{where}: {spec} is no input for pictures; they have the shape [height, width], "
            "[height, width, channels] or [channels, height, width] with 1, 3 or 4 channels"
        )
    color = settings.color or _COLORS[axes.channels][0]
    if color not in _COLORS[axes.channels]:
        fitting = " or ".join(_COLORS[axes.channels])
        raise ConfigError(f"{where}.color: {spec} takes {fitting}, not {color}")
    height, width = _size_of(where, spec, axes, settings.resize)
    _check_values(where, spec, axes, settings)
    mode = PRESETS.get(settings.preset, UNCHANGED)
    return PicturePlan(spec, axes, settings, height, width, color, mode)


def suggestion(spec: TensorSpec) -> dict[str, Any] | None:
    """Return settings for an input that may take pictures, to be adapted; None if it may not."""
    axes = axes_of(spec)
    if axes is None:
        return None
    image: dict[str, Any] = {}
    if axes.height is None or axes.width is None:
        image["resize"] = [axes.height or 224, axes.width or 224]
    image |= {"method": "bilinear", "fit": "stretch", "color": _COLORS[axes.channels][0]}
    if spec.array_dtype.kind == "f":
        image |= {"scale": 1.0, "offset": 0.0}
    return {spec.name: {"image": image}}


def _size_of(
    where: str, spec: TensorSpec, axes: Axes, resize: tuple[int, ...]
) -> tuple[int | None, int | None]:
    """Return the height and width of a row; raises ConfigError."""
    known = (axes.height, axes.width)
    if not resize:
        if known.count(None) == 1:
            raise ConfigError(f"{where}.resize is missing: {spec} leaves one side open")
        return known
    for given, size in zip(resize, known, strict=True):
        if size not in (None, given):
            raise ConfigError(
                f"{where}.resize: {list(resize)} is not the size that the model takes ({spec}); "
                "leave it out"
            )
    return resize[0], resize[1]


def _check_values(where: str, spec: TensorSpec, axes: Axes, settings: ImageSettings) -> None:
    """Raise ConfigError for values that exclude each other, or do not fit the input."""
    names = ("scale", "offset", "mean", "std")
    given = [n for n in names if getattr(settings, n) != getattr(_NO_VALUES, n)]
    if settings.preset and given:
        raise ConfigError(f"{where}.{given[0]}: preset is set as well; use one of them")
    if settings.preset and axes.channels != 3 and PRESETS[settings.preset]:
        raise ConfigError(f"{where}.preset: it is for 3 channels, but the input is {spec}")
    if settings.preset and settings.color == "bgr":
        raise ConfigError(f"{where}.color: preset is set as well, which is for rgb")
    for name in ("mean", "std"):
        count = len(getattr(settings, name))
        if count not in (0, 1, axes.channels):
            raise ConfigError(
                f"{where}.{name}: it has {count} numbers, but the input has {axes.channels} "
                f"channel{'s' if axes.channels > 1 else ''}"
            )
    if spec.array_dtype.kind != "f" and (given or PRESETS.get(settings.preset)):
        name = given[0] if given else "preset"
        raise ConfigError(f"{where}.{name}: {spec} takes integers, so pixels stay as they are")
