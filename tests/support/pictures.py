"""200 pictures of all formats, sizes, orientations and colours; damaged and hostile ones."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from PIL import Image

SIZES: Final = ((1, 1), (3, 5), (37, 23), (64, 64), (23, 90), (120, 80), (224, 224), (200, 300))
ORIENTATION: Final = 0x0112


def base(width: int, height: int) -> Image.Image:
    """Return a picture in RGB with slopes, edges and noise; it is the same at each call."""
    rng = np.random.default_rng(width * 1000 + height)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    waves = np.stack([x * 5 + y, 128 + 120 * np.sin(x / 7) * np.cos(y / 5), 255 - y * 3], -1)
    noise = rng.normal(0, 12, waves.shape)
    return Image.fromarray((waves + noise).clip(0, 255).astype(np.uint8))


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    """Return a picture as a file."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def _with_alpha(image: Image.Image) -> Image.Image:
    image = image.convert("RGBA")
    image.putalpha(image.getchannel("R"))
    return image


def _grey_16(image: Image.Image) -> Image.Image:
    grey = np.asarray(image.convert("L")).astype(np.uint16) * 257
    return Image.fromarray(grey)


def _turned(orientation: int) -> Callable[[Image.Image], bytes]:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return lambda image: saved(image, "JPEG", exif=exif.tobytes(), quality=90)


def _frames(image: Image.Image) -> dict[str, Any]:
    return {"save_all": True, "append_images": [image.rotate(180)], "duration": 50}


KINDS: Final[dict[str, Callable[[Image.Image], bytes]]] = {
    "jpeg": lambda i: saved(i, "JPEG", quality=85),
    "jpeg-444": lambda i: saved(i, "JPEG", quality=95, subsampling=0),
    "jpeg-progressive": lambda i: saved(i, "JPEG", progressive=True),
    "jpeg-grey": lambda i: saved(i.convert("L"), "JPEG"),
    "jpeg-cmyk": lambda i: saved(i.convert("CMYK"), "JPEG"),
    "jpeg-turned-3": _turned(3),
    "jpeg-turned-6": _turned(6),
    "jpeg-turned-7": _turned(7),
    "png": lambda i: saved(i, "PNG"),
    "png-alpha": lambda i: saved(_with_alpha(i), "PNG"),
    "png-grey": lambda i: saved(i.convert("L"), "PNG"),
    "png-grey-alpha": lambda i: saved(_with_alpha(i).convert("LA"), "PNG"),
    "png-grey-16": lambda i: saved(_grey_16(i), "PNG"),
    "png-bits": lambda i: saved(i.convert("1"), "PNG"),
    "png-palette": lambda i: saved(i.quantize(64), "PNG"),
    "png-palette-clear": lambda i: saved(i.quantize(64), "PNG", transparency=3),
    "png-palette-alphas": lambda i: saved(
        i.quantize(64), "PNG", transparency=bytes(range(0, 256, 4))
    ),
    "gif": lambda i: saved(i, "GIF"),
    "gif-clear": lambda i: saved(i.quantize(32), "GIF", transparency=1),
    "gif-moving": lambda i: saved(i.quantize(32), "GIF", **_frames(i.quantize(32))),
    "webp": lambda i: saved(i, "WEBP"),
    "webp-alpha": lambda i: saved(_with_alpha(i), "WEBP", lossless=True),
    "webp-moving": lambda i: saved(i, "WEBP", **_frames(i)),
    "bmp": lambda i: saved(i, "BMP"),
    "bmp-grey": lambda i: saved(i.convert("L"), "BMP"),
}


def pictures() -> Iterator[tuple[str, bytes]]:
    """Generate 200 pictures with their names."""
    for width, height in SIZES:
        image = base(width, height)
        for kind, write in KINDS.items():
            yield f"{kind}-{width}x{height}", write(image)


def png(width: int, height: int, *chunks: tuple[bytes, bytes], depth: int = 8) -> bytes:
    """Return a PNG in RGB with this header and these chunks, which need not fit it."""
    head = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


def bombs() -> dict[str, bytes]:
    """Return small files that claim, or take, much memory or time."""
    zeros = zlib.compress(bytes(30_000_000), 9)
    text = b"k\0\0" + zlib.compress(bytes(20_000_000), 9)
    jpeg = saved(base(64, 64), "JPEG", progressive=True)
    scan = jpeg[jpeg.rindex(b"\xff\xda") : -2]
    return {
        "png-of-30000x30000": png(30_000, 30_000, (b"IDAT", zeros)),
        "png-of-2**31-1": png(2**31 - 1, 2**31 - 1, (b"IDAT", zeros)),
        "png-with-0-columns": png(0, 5, (b"IDAT", zeros)),
        "png-with-long-text": png(8, 8, (b"zTXt", text), (b"IDAT", zlib.compress(b""))),
        "png-of-5000x5000-without-pixels": png(5000, 5000),
        "gif-of-65535x65535": b"GIF89a\xff\xff\xff\xff\x00\x00\x00"
        b",\0\0\0\0\xff\xff\xff\xff\0\x02\x01\0\0;",
        "bmp-of-2**31-1": b"BM"
        + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 2**31 - 1, 2**31 - 1, 1, 24, *[0] * 6),
        "webp-of-16384x16384": b"RIFF\x1e\0\0\0WEBPVP8X\n\0\0\0\0\0\0\0\xff\x3f\0\xff\x3f\0",
        "jpeg-of-65535x65535": jpeg.replace(b"\x00\x40\x00\x40\x03", b"\xff\xff\xff\xff\x03", 1),
        "jpeg-with-15000-scans": jpeg[:-2] + scan * 15_000 + jpeg[-2:],
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        "tiff": saved(base(8, 8), "TIFF"),
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n",
        "empty": b"",
    }


def damaged(count: int) -> Iterator[tuple[str, bytes]]:
    """Generate so many files that are cut short, or that nobody can decode."""
    rng = np.random.default_rng(20)
    originals = [
        (kind, KINDS[kind](base(120, 80))) for kind in ("jpeg", "png", "gif", "webp", "bmp")
    ]
    for number in range(count):
        kind, file = originals[number % len(originals)]
        if number % 3 == 0:  # the header and some pixels
            yield f"{kind}-cut-{number}", file[: int(rng.integers(1, len(file) * 3 // 4))]
        elif number % 3 == 1:  # the header is overwritten
            noise = rng.integers(0, 256, 24, np.uint8).tobytes()
            yield f"{kind}-head-{number}", noise + file[24:]
        else:
            yield f"{kind}-noise-{number}", rng.integers(0, 256, 5000, np.uint8).tobytes()
