"""Every way to send pictures."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

BOUNDARY: Final = "a-boundary"


class Sent(NamedTuple):
    """A request with pictures for the input `image`."""

    dialect: str
    body: bytes
    headers: dict[str, str]


def text(file: bytes) -> str:
    return base64.b64encode(file).decode()


def form(*parts: tuple[str, bytes]) -> Sent:
    """Return a form as `curl -F` sends it; parts have a name and a body."""
    pieces = [
        b'--%b\r\nContent-Disposition: form-data; name="%b"; filename="a.jpg"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n%b\r\n"
        % (BOUNDARY.encode(), name.encode(), body)
        for name, body in parts
    ]
    body = b"".join([*pieces, b"--%b--\r\n" % BOUNDARY.encode()])
    headers = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
    return Sent("native", body, headers)


def _document(dialect: str, document: object, **headers: str) -> Sent:
    return Sent(
        dialect, json.dumps(document).encode(), {"content-type": "application/json"} | headers
    )


def native_json(files: Sequence[bytes]) -> Sent:
    data = [{"b64": text(file)} for file in files]
    return _document("native", {"data": data if len(data) > 1 else data[0]})


def instances(files: Sequence[bytes]) -> Sent:
    return _document("tfserving", {"instances": [{"b64": text(file)} for file in files]})


def columns(files: Sequence[bytes]) -> Sent:
    return _document("tfserving", {"inputs": {"image": [{"b64": text(file)} for file in files]}})


def v2_json(files: Sequence[bytes]) -> Sent:
    tensor = {"name": "image", "shape": [len(files)], "datatype": "BYTES"}
    return _document("v2", {"inputs": [tensor | {"data": [text(file) for file in files]}]})


def v2_binary(files: Sequence[bytes]) -> Sent:
    """Return a request as tritonclient and the clients of OpenVINO Model Server send it."""
    tail = b"".join(len(file).to_bytes(4, "little") + file for file in files)
    tensor = {"name": "image", "shape": [len(files)], "datatype": "BYTES"}
    head = json.dumps(
        {"inputs": [tensor | {"parameters": {"binary_data_size": len(tail)}}]}
    ).encode()
    headers = {"content-type": "application/octet-stream"}
    return Sent("v2", head + tail, headers | {"inference-header-content-length": str(len(head))})


def image_body(files: Sequence[bytes]) -> Sent:
    [file] = files
    return Sent("native", file, {"content-type": "image/png"})


def image_form(files: Sequence[bytes]) -> Sent:
    return form(*(("image", file) for file in files))


Way = Callable[[Sequence[bytes]], Sent]
FOR_MANY: Final[tuple[Way, ...]] = (
    *(image_form, native_json, instances, columns, v2_json, v2_binary),
)
WAYS: Final[tuple[Way, ...]] = (image_body, *FOR_MANY)
