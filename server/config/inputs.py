"""The settings of single inputs of a model: `model.inputs.NAME`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

# What `preprocess_input` of each module of Keras does to pixels from 0 to 255.
SCALED, NORMALIZED, CENTERED, UNCHANGED = "tf", "torch", "caffe", ""
_MODES: Final[Mapping[str, tuple[str, ...]]] = {
    SCALED: (
        *("inception_resnet_v2", "inception_v3", "mobilenet", "mobilenet_v2", "nasnet"),
        *("resnet_v2", "xception"),
    ),
    NORMALIZED: ("densenet",),
    CENTERED: ("resnet", "resnet50", "vgg16", "vgg19"),
    UNCHANGED: ("convnext", "efficientnet", "efficientnet_v2", "mobilenet_v3"),
}
PRESETS: Final[Mapping[str, str]] = {
    f"keras.applications.{name}": mode for mode, names in _MODES.items() for name in names
}
TF_BILINEAR: Final = "tf_bilinear"
METHODS: Final = ("nearest", "bilinear", "bicubic", "hamming", "box", "lanczos", TF_BILINEAR)
FITS: Final = ("stretch", "crop", "pad")
COLORS: Final = ("grayscale", "rgb", "bgr", "rgba")
MAX_SIDE: Final = 16_384


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """How a picture becomes one row of an input.

    Attributes:
        resize: height and width; (): those of the signature, or those of the picture.
        color: one of COLORS; "": what fits the number of channels.
        scale: with `offset`, `mean` and `std`: ((pixel * scale + offset) - mean) / std.
        mean: one number, or one for each channel; (): none. So is `std`.
        exif: whether a picture is turned as its EXIF data says.
        draft: whether a JPEG is decoded at an eighth, a quarter or half of its size if that is
            enough: faster, with other numbers.
        preset: one of PRESETS, in place of scale, offset, mean and std; "": none.
    """

    resize: tuple[int, ...] = ()
    method: str = "bilinear"
    fit: str = "stretch"
    color: str = ""
    scale: float = 1.0
    offset: float = 0.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    exif: bool = False
    draft: bool = False
    preset: str = ""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> ImageSettings:
        """Return the settings of a valid mapping in a file."""
        numbers = {key: _numbers(given[key]) for key in ("mean", "std") if key in given}
        floats = {key: float(given[key]) for key in ("scale", "offset") if key in given}
        resize = {"resize": tuple(given["resize"])} if "resize" in given else {}
        return cls(**{**given, **numbers, **floats, **resize})


@dataclass(frozen=True, slots=True)
class InputSettings:
    """How one input is sent: as a picture file, too.

    Attributes:
        name: that of the input.
        image: how a picture becomes numbers.
    """

    name: str
    image: ImageSettings


def inputs_of(given: Mapping[str, Mapping[str, Any]]) -> tuple[InputSettings, ...]:
    """Return the settings of all inputs in a valid mapping."""
    return tuple(
        InputSettings(name, ImageSettings.of(each["image"])) for name, each in given.items()
    )


def _numbers(given: float | list[float]) -> tuple[float, ...]:
    return tuple(map(float, given if isinstance(given, list) else [given]))


def _choice(words: tuple[str, ...], about: str) -> dict[str, Any]:
    return {"description": about, "enum": list(words), "wanted": f"one of {', '.join(words)}"}


def _number(about: str) -> dict[str, Any]:
    return {"description": about, "type": "number", "wanted": "a finite number"}


def _number_or_list(about: str, **limits: Any) -> dict[str, Any]:
    number = {"type": "number", **limits}
    several = {"type": "array", "items": number, "minItems": 1, "maxItems": 4}
    wanted = "a number, or a list with a number for each channel"
    if limits:
        wanted += ", each greater than 0"
    return {"description": about, "anyOf": [number, several], "wanted": wanted}


def _flag(about: str) -> dict[str, Any]:
    return {"description": about, "type": "boolean", "wanted": "true or false"}


_SIDE: Final = {
    "type": "integer",
    "minimum": 1,
    "maximum": MAX_SIDE,
    "wanted": "a number of pixels",
}
# "wanted" is no keyword of JSON Schema: it completes "… is not" in error messages.
IMAGE_SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "wanted": "a mapping of settings for pictures, such as {preset: keras.applications.mobilenet}",
    "properties": {
        "resize": {
            "description": "Height and width, where the model leaves them open.",
            "type": "array",
            "items": _SIDE,
            "minItems": 2,
            "maxItems": 2,
            "wanted": "a list of height and width, such as [224, 224]",
        },
        "method": _choice(METHODS, "How pictures are resized."),
        "fit": _choice(FITS, "What is done to pictures of another aspect ratio."),
        "color": _choice(COLORS, "Channels. Default: what fits their number."),
        "scale": _number("Every pixel is multiplied by this."),
        "offset": _number("Added after that."),
        "mean": _number_or_list("Subtracted after that."),
        "std": _number_or_list("Divided by after that.", exclusiveMinimum=0),
        "exif": _flag("Whether pictures are turned as their EXIF data says."),
        "draft": _flag("Whether large JPEGs are decoded faster, with other numbers."),
        "preset": _choice(tuple(sorted(PRESETS)), "Does what its preprocess_input does."),
    },
    "additionalProperties": False,
}
INPUT_SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "wanted": "a mapping with image",
    "properties": {"image": IMAGE_SCHEMA},
    "required": ["image"],
    "additionalProperties": False,
}
