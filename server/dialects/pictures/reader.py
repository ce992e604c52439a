"""Which inputs of a model take pictures, and their files in requests as rows."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from model.signature import Signature, TensorSpec
from model.tensors import Tensors
from server.config import ConfigError
from server.config.inputs import InputSettings
from server.config.settings import MAX_PIXELS
from server.dialects.interface import DecodedRequest
from server.dialects.pictures.advice import setting_for
from server.dialects.pictures.pixels import row_of
from server.dialects.pictures.plan import PicturePlan, axes_of, plan_of
from server.errors import InvalidData

if TYPE_CHECKING:
    from server.dialects.pictures.files import PictureFile

# Each takes some 75 microseconds and 5 KB, however small it is.
MAX_PICTURES: Final = 10_000


class Pictures:
    """The inputs of a model that take pictures.

    Attributes:
        plans: how pictures become rows, by name of input; empty if no input takes pictures.
        names: the inputs that take pictures; if there are none, those that might.
        setting: a sentence with the settings that pictures need; "" if inputs have them, or no
            input can be a picture.
        as_files: the signature with strings as the inputs in `names`: files, or files in base64.
    """

    def __init__(
        self,
        signature: Signature,
        inputs: Sequence[InputSettings] = (),
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        """Plan for each input with settings; raises ConfigError if they do not fit it."""
        specs = {spec.name: spec for spec in signature.inputs}
        for each in inputs:
            if each.name not in specs:
                names = ", ".join(specs)
                raise ConfigError(
                    f"inputs.{each.name}: the model has no such input; its inputs are {names}"
                )
        self.plans = {each.name: plan_of(specs[each.name], each.image) for each in inputs}
        self._max_pixels = max_pixels
        self.setting = "" if self.plans else setting_for(signature)
        possible = (spec.name for spec in signature.inputs if axes_of(spec))
        self.names = frozenset(self.plans or possible)
        self.as_files = replace(signature, inputs=tuple(map(self._as_file, signature.inputs)))

    def __bool__(self) -> bool:
        """Return whether any input takes pictures."""
        return bool(self.plans)

    def advice(self, how_to_send: str) -> str:
        """Return what the sender of a picture is told; "" if no input can be one."""
        return how_to_send if self.plans else self.setting

    def decoded(self, request: DecodedRequest) -> DecodedRequest:
        """Return a request for `as_files` with rows in place of files.

        A file is bytes, or text in base64 (RFC 4648, section 4), which may be in an object with
        the key `b64`.

        Raises:
            InvalidData: a file is no picture or damaged, or they are too many or too large.
        """
        count = len(request.tensors) * len(self.plans)
        if count > MAX_PICTURES:
            raise InvalidData(
                f"A request may have {MAX_PICTURES} pictures, not {count}; send them in several", []
            )
        arrays = dict(request.tensors.arrays)
        left = self._max_pixels
        for name, plan in self.plans.items():
            files = _files_of(arrays[name], plan)
            pictures = self._opened(files, plan, left)
            left -= sum(picture.pixels for picture in pictures)
            arrays[name] = _rows(pictures, plan)
        return request._replace(tensors=Tensors(arrays))

    def _opened(self, files: Sequence[bytes], plan: PicturePlan, left: int) -> list[PictureFile]:
        """Read the headers of files; raises InvalidData if they have more than `left` pixels."""
        from server.dialects.pictures.files import BadPicture, PictureFile  # needs Pillow

        if len(files) * (plan.height or 1) * (plan.width or 1) > left:
            raise self._too_large(plan)
        pictures: list[PictureFile] = []
        for index, file in enumerate(files):
            try:
                picture = PictureFile(file, plan)
            except BadPicture as error:
                raise _bad(plan, index, len(files), str(error)) from None
            left -= picture.pixels
            if left < 0:
                raise self._too_large(plan)
            pictures.append(picture)
        return pictures

    def _as_file(self, spec: TensorSpec) -> TensorSpec:
        return TensorSpec(spec.name, (), "string") if spec.name in self.names else spec

    def _too_large(self, plan: PicturePlan) -> InvalidData:
        return InvalidData(
            f"The pictures for {plan.spec.name} have more than {self._max_pixels} pixels in all, "
            "as files or as rows of the model (predict.max_image_pixels)",
            [],
        )


def _files_of(cells: np.ndarray, plan: PicturePlan) -> list[bytes]:
    """Return picture files as bytes; raises InvalidData."""
    files: list[bytes] = []
    for index, cell in enumerate(cells):
        text = cell["b64"] if isinstance(cell, dict) else cell
        try:
            files.append(text if isinstance(text, bytes) else _decoded(text))
        except ValueError:
            why = "is not valid base64 (with + and /, not with - and _)"
            if text.startswith("data:"):
                why = "is a data URL; send only the base64 after its comma"
            raise _bad(plan, index, len(cells), why) from None
    return files


def _decoded(text: str) -> bytes:
    """Return what is in base64, perhaps without padding; raises ValueError."""
    text = "".join(text.split())
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def _rows(pictures: list[PictureFile], plan: PicturePlan) -> np.ndarray:
    """Return the rows of pictures.

    Each is taken out of the list, so that the pixels of only one are kept at a time.
    """
    from server.dialects.pictures.files import BadPicture  # needs Pillow

    rows: np.ndarray | None = None
    count = len(pictures)
    for index in range(count):
        try:
            row = row_of(pictures.pop(0).decode(), plan)
        except (BadPicture, ValueError) as error:
            raise _bad(plan, index, count, str(error)) from None
        if rows is None:
            rows = np.empty((count, *row.shape), row.dtype)
        if row.shape != rows.shape[1:]:
            raise InvalidData(
                f"The pictures for {plan.spec.name} have different sizes; send one in a request, "
                f"or set inputs.{plan.spec.name}.image.resize",
                [],
            )
        rows[index] = row
    assert rows is not None, "a request has a row at least"
    return rows


def _bad(plan: PicturePlan, index: int, count: int, why: str) -> InvalidData:
    which = "The picture" if count == 1 else f"Picture {index}"
    return InvalidData(f"{which} for {plan.spec.name} {why}", [])
