"""What a file is that is no picture of the formats that are decoded."""

from __future__ import annotations

import re
from typing import Final

_FORMATS: Final = "a JPEG, PNG, WebP, BMP or GIF"
_START_IN_BASE64: Final = rb"/9j/|iVBORw0KGgo|UklGR|Qk[0-3]|R0lGOD[ld]h"
_KINDS: Final = (  # by the start of a file
    (rb"\Z", "is empty"),
    (rb".{4}ftyp(?:hei|hev|mif|msf)", f"is a HEIC, not {_FORMATS}"),
    (rb".{4}ftypavi", f"is an AVIF, not {_FORMATS}"),
    (rb"II\*\0|MM\0\*", f"is a TIFF, not {_FORMATS}"),
    (rb"%PDF-", f"is a PDF, not {_FORMATS}"),
    (rb"\s*<", f"is XML or HTML, not {_FORMATS}"),
    (
        rb"\x89PNG\x1a|\xff\xd8\xff[\xe0\xe1].?(?:JFIF|Exif)[^\0]",
        "has lost bytes, as with curl --data; send it with curl --data-binary",
    ),
    (
        rb"(?:\xef\xbf\xbd|\xc2\x89)PNG|(?:\xef\xbf\xbd){3}|\xc3\xbf\xc3\x98\xc3\xbf",
        "was read as text, which changes it; read it as bytes",
    ),
    (rb"(?:%b)[\w+/=\s]*\Z" % _START_IN_BASE64, "is still in base64"),
    (rb"[\t\n\r -~]{1,999}\Z", "is text; with curl -F, write @ before the name of a file"),
)


def what_else(file: bytes) -> str:
    """Return what a file is that Pillow does not know, for messages: "is a PDF, not …"."""
    for start, what in _KINDS:
        if re.match(start, file, re.DOTALL | re.ASCII):
            return what
    return f"is damaged, or not {_FORMATS}"
