"""Pictures in requests: the ways in, what they become, and those that are rejected."""

from __future__ import annotations

import base64
import io
import json
import re
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from model.signature import Signature, TensorSpec
from server.config import ConfigError, PredictSettings
from server.config.inputs import ImageSettings, InputSettings
from server.dialects.native import multipart
from server.dialects.table import Dialects
from server.errors import InvalidData, InvalidJSON, InvalidRequest, UnsupportedMediaType
from tests.support.picture_requests import (
    FOR_MANY,
    WAYS,
    Sent,
    Way,
    columns,
    form,
    image_body,
    image_form,
    instances,
    native_json,
    text,
    v2_json,
)
from tests.support.pictures import base, bombs, damaged, saved

IMAGE = TensorSpec("image", (24, 32, 3), "float32")
AGE = TensorSpec("age", (), "float32")
SIGNATURE = Signature((IMAGE,), (TensorSpec("y", (2,), "float32"),))
FILE = saved(base(80, 60), "PNG")
OTHER = saved(base(37, 23), "PNG")


def dialects_for(*inputs: TensorSpec, max_pixels: int = 10**6, **image: Any) -> Dialects:
    """Return the dialects of a model whose input `image` takes pictures."""
    signature = Signature(inputs or (IMAGE,), SIGNATURE.outputs)
    settings = PredictSettings(max_image_pixels=max_pixels)
    return Dialects(
        "m", "1", signature, settings, inputs=(InputSettings("image", ImageSettings.of(image)),)
    )


def tensors_of(dialects: Dialects, sent: Sent) -> dict[str, np.ndarray]:
    """Return what a request is decoded to."""
    dialect = dialects.by_name[sent.dialect]
    dialect.check(sent.headers)
    assert dialect.holds_pictures(sent.body, sent.headers)
    return dict(dialect.decode(sent.body, sent.headers).tensors.arrays)


def row(spec: TensorSpec = IMAGE, file: bytes = FILE, **image: Any) -> np.ndarray:
    """Return the row that a picture becomes."""
    return tensors_of(dialects_for(spec, **image), image_body([file]))["image"][0]


def pillow(picture: Image.Image | None = None, **options: Any) -> np.ndarray:
    """Return a picture, or that of FILE, as Pillow resizes it."""
    size = options.pop("size", (32, 24))
    return np.asarray(
        (picture or base(80, 60)).resize(size, Image.Resampling.BILINEAR, **options), np.float32
    )


@pytest.mark.parametrize("way", WAYS)
def test_a_picture_is_the_same_row_in_every_way(way: Way) -> None:
    arrays = tensors_of(dialects_for(), way([FILE]))

    assert arrays["image"].dtype == np.float32
    assert np.array_equal(arrays["image"], pillow()[np.newaxis])


@pytest.mark.parametrize("way", FOR_MANY)
def test_several_pictures_are_a_batch(way: Way) -> None:
    arrays = tensors_of(dialects_for(), way([FILE, OTHER]))

    assert np.array_equal(arrays["image"], [pillow(), pillow(base(37, 23))])


@pytest.mark.parametrize("files", [[FILE], [FILE, OTHER]])
@pytest.mark.parametrize("way", FOR_MANY)
def test_the_answer_has_the_form_that_was_asked_in(way: Way, files: Sequence[bytes]) -> None:
    sent = way(files)
    dialects = dialects_for()
    dialect = dialects.by_name[sent.dialect]
    request = dialect.decode(sent.body, sent.headers)
    answer = type(request.tensors)({"y": np.ones((len(files), 2), np.float32)})

    text = dialect.encode(answer, request).body

    assert text.count(b"1.0") == 2 * len(files)
    assert (b'{"prediction":[1.0' in text) == (sent.dialect == "native" and len(files) == 1)


@pytest.mark.parametrize("way", [native_json, v2_json])
def test_numbers_are_taken_as_well(way: Way) -> None:
    dialect = dialects_for().native
    body = json.dumps({"data": np.full(IMAGE.shape, 7).tolist()}).encode()

    assert not dialect.holds_pictures(body, {})
    assert (dialect.decode(body).tensors.arrays["image"] == 7).all()


@pytest.mark.parametrize("media_type", ["image/jpg", "IMAGE/PJPEG", "image/x-ms-bmp; a=b"])
def test_other_names_of_media_types_are_accepted(media_type: str) -> None:
    sent = Sent("native", FILE, {"content-type": media_type})

    assert np.array_equal(tensors_of(dialects_for(), sent)["image"], [pillow()])


@pytest.mark.parametrize("dialect, key", [("native", "data"), ("tfserving", "instances")])
def test_base64_without_its_key_is_told_how_to_send_it(dialect: str, key: str) -> None:
    """Whether or not it happens to have the letters of the key."""
    dot = saved(base(1, 1), "PNG")
    with_key = dot + bytes(-len(dot) % 3) + base64.b64decode("/b64")
    assert [b"b64" in text(file).encode() for file in (dot, with_key)] == [False, True]
    for file, words in (
        (with_key, 'image: {"b64": "…"}'),
        (dot, 'picture is sent as {"b64": "…"}'),
    ):
        body = json.dumps({key: [text(file)]}).encode()
        with pytest.raises(InvalidData, match=words):
            dialects_for().by_name[dialect].decode(body, {"content-type": "application/json"})


def test_a_key_that_is_written_with_escapes_is_decoded_elsewhere_too() -> None:
    body = b'{"data": {"\\u0062\\u0036\\u0034": "%b"}}' % text(FILE).encode()

    arrays = tensors_of(dialects_for(), Sent("native", body, {"content-type": "application/json"}))

    assert np.array_equal(arrays["image"][0], pillow())


def test_other_inputs_come_beside_pictures() -> None:
    dialects = dialects_for(IMAGE, AGE)
    parts = [("image", FILE), ("age", b"7"), ("image", OTHER), ("age", b"8.5")]
    data = {"image": [{"b64": text(FILE)}, {"b64": text(OTHER)}], "age": [7, 8.5]}
    body = json.dumps({"data": data}).encode()

    for sent in (form(*parts), Sent("native", body, {"content-type": "application/json"})):
        arrays = tensors_of(dialects, sent)

        assert arrays["age"].tolist() == [7, 8.5]
        assert np.array_equal(arrays["image"], [pillow(), pillow(base(37, 23))])


@pytest.mark.parametrize("shape", [(), (1,)])
def test_parts_for_one_value_need_no_list(shape: tuple[int, ...]) -> None:
    """As `curl -F age=7 -F title=…` sends them."""
    age, title = (TensorSpec("age", shape, "float32"), TensorSpec("title", shape, "string"))
    parts = [("image", FILE), ("age", b"7"), ("title", '["é"] '.encode())]

    arrays = tensors_of(dialects_for(IMAGE, age, title), form(*parts))

    assert arrays["age"].shape == arrays["title"].shape == (1, *shape)
    assert arrays["age"].item() == 7
    assert arrays["title"].item() == '["é"] '


def test_a_list_of_one_number_is_accepted_too() -> None:
    age = TensorSpec("age", (1,), "float32")
    parts = [("image", FILE), ("age", b"[7]"), ("image", FILE), ("age", b" 8 ")]

    assert tensors_of(dialects_for(IMAGE, age), form(*parts))["age"].tolist() == [[7], [8]]


def test_text_in_another_encoding_is_rejected() -> None:
    """Else the model would get other characters."""
    title = TensorSpec("title", (), "string")

    with pytest.raises(InvalidData, match="A part for title is not text in UTF-8"):
        tensors_of(dialects_for(IMAGE, title), form(("image", FILE), ("title", b"Stra\xdfe")))


def test_a_body_that_is_one_picture_is_for_models_with_one_input() -> None:
    with pytest.raises(UnsupportedMediaType, match="send multipart/form-data"):
        dialects_for(IMAGE, AGE).native.check({"content-type": "image/png"})


@pytest.mark.parametrize(
    "sent, error, words",
    [
        (form(("picture", FILE), ("age", b"1")), InvalidData, "no input 'picture'"),
        (form(("image", FILE)), InvalidData, "no part for the input age"),
        (form(("image", FILE), ("age", b"x")), InvalidJSON, "A part for age is not valid JSON"),
        (
            form(("image", FILE), ("age", b'"x"')),
            InvalidData,
            r"one part for each input, .*: image: a picture file, age: float32\[\] in JSON",
        ),
        (form(("image", FILE), ("age", b"1"), ("age", b"2")), InvalidData, "not image: 1, age: 2"),
        (form(), InvalidRequest, "The form has no parts|is not complete"),
    ],
)
def test_a_form_that_does_not_fit_the_model(sent: Sent, error: type, words: str) -> None:
    with pytest.raises(error, match=words):
        tensors_of(dialects_for(IMAGE, AGE), sent)


@pytest.mark.parametrize(
    "body, content_type",
    [
        (b"", "multipart/form-data; boundary=x"),
        (b"--x--", "multipart/form-data; boundary=x"),
        (b"--x\r\n\r\nbody\r\n--x--", "multipart/form-data; boundary=x"),
        (
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nbody',
            "multipart/form-data; boundary=x",
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\nbody\r\n--x--',
            "multipart/form-data",
        ),
        (
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n'
            b"Content-Transfer-Encoding: base64\r\n\r\nYQ==\r\n--x--",
            "multipart/form-data; boundary=x",
        ),
        (b"--x\r\n" * 5000 + b"--x--", "multipart/form-data; boundary=x"),
    ],
)
def test_a_broken_form_is_rejected(body: bytes, content_type: str) -> None:
    with pytest.raises(InvalidRequest):
        multipart.parts_of(body, content_type)


def test_parts_are_bytes_as_they_were_sent() -> None:
    body = b"\r\n\r\n--y\r--x\n\x00\xff"
    head = b'content-disposition: form-data; filename="b"; name="a %22b%22"\r\n'

    parts = multipart.parts_of(
        b"before\r\n--x\r\n" + head + b"\r\n" + body + b"\r\n--x--\r\nafter",
        'multipart/form-data; boundary="x"',
    )

    assert parts == [multipart.Part('a "b"', body)]


WITHOUT = Dialects("m", "1", SIGNATURE, PredictSettings())


@pytest.mark.parametrize("way", WAYS)
def test_without_the_setting_the_error_shows_it(way: Way) -> None:
    sent = way([FILE])
    dialect = WITHOUT.by_name[sent.dialect]

    def ask() -> None:
        dialect.check(sent.headers)
        dialect.decode(sent.body, sent.headers)

    with pytest.raises(UnsupportedMediaType) as caught:
        ask()

    assert (
        "{model: {inputs: {image: {image: {method: bilinear, fit: stretch, color: rgb, "
        "scale: 1.0, offset: 0.0}}}}}"
    ) in str(caught.value)


def test_the_setting_that_is_shown_fits_the_input() -> None:
    spec = TensorSpec("image", (None, None, 1), "float32")
    dialect = Dialects("m", "1", Signature((spec,), SIGNATURE.outputs), PredictSettings()).native

    with pytest.raises(UnsupportedMediaType) as caught:
        dialect.check({"content-type": "image/png"})

    assert "resize: [224, 224], method: bilinear, fit: stretch, color: grayscale" in str(
        caught.value
    )


def test_a_model_that_takes_no_pictures_says_what_it_takes() -> None:
    dialect = Dialects("m", "1", Signature((AGE,), SIGNATURE.outputs), PredictSettings()).native

    with pytest.raises(UnsupportedMediaType, match="takes age: float32") as caught:
        dialect.check({"content-type": "image/png"})
    assert "model: {inputs" not in str(caught.value)


@pytest.mark.parametrize("way", WAYS)
def test_damaged_files_and_bombs_are_invalid_data(way: Way) -> None:
    dialects = dialects_for()

    for name, file in [*bombs().items(), *damaged(15)]:
        if len(file) > 10**6 or (way is image_body and not file):
            continue
        with pytest.raises(InvalidData, match=r"picture|Picture|data of image") as caught:
            tensors_of(dialects, way([file]))
        assert "image" in str(caught.value), name


def test_nothing_is_decoded_of_pictures_that_have_too_many_pixels() -> None:
    """They are not even whole."""
    cut = FILE[:200]

    with pytest.raises(InvalidData, match="more than 4799 pixels in all"):
        tensors_of(dialects_for(max_pixels=4799), image_body([cut]))
    with pytest.raises(InvalidData, match="more than 9599 pixels in all"):
        tensors_of(dialects_for(max_pixels=9599), native_json([FILE, cut]))
    with pytest.raises(InvalidData, match="is damaged"):
        tensors_of(dialects_for(max_pixels=4800), image_body([cut]))


def test_rows_count_as_pixels_too() -> None:
    """Else a small file could take much memory."""
    dot = saved(base(1, 1), "PNG")

    with pytest.raises(InvalidData, match="more than 2000 pixels in all"):
        tensors_of(dialects_for(max_pixels=2000), native_json([dot, dot, dot]))
    wide = saved(Image.new("RGB", (4000, 1)), "PNG")
    with pytest.raises(InvalidData, match="more than 100000 pixels"):
        tensors_of(dialects_for(max_pixels=100_000, fit="pad"), image_body([wide]))


def test_a_jpeg_with_very_many_scans_is_rejected() -> None:
    with pytest.raises(InvalidData, match="has more than 100 scans"):
        row(file=bombs()["jpeg-with-15000-scans"])


@pytest.mark.parametrize(
    "given, words",
    [
        ("%%%", r"The picture for image is not valid base64 \(with \+ and /"),
        ("iVBOR-_w", "is not valid base64"),
        (f"data:image/png;base64,{text(FILE)}", "is a data URL; send only the base64 after"),
    ],
)
@pytest.mark.parametrize("way", [native_json, v2_json])
def test_invalid_base64_is_invalid_data(way: Way, given: str, words: str) -> None:
    sent = way([FILE])
    body = sent.body.replace(text(FILE).encode(), given.encode())

    with pytest.raises(InvalidData, match=words):
        tensors_of(dialects_for(), sent._replace(body=body))


@pytest.mark.parametrize("way", [native_json, instances, columns, v2_json])
def test_base64_needs_no_padding(way: Way) -> None:
    file = next(file for end in range(3) if text(file := FILE + bytes(end)).endswith("=="))
    sent = way([file])

    arrays = tensors_of(dialects_for(), sent._replace(body=sent.body.replace(b"==", b"")))

    assert np.array_equal(arrays["image"], [pillow()])


JPEG = saved(base(80, 60), "JPEG")


@pytest.mark.parametrize(
    "file, words",
    [
        (b"", "is empty"),
        (b"\0\0\0\x18ftypheic", "is a HEIC, not a JPEG"),
        (b"\0\0\0\x18ftypavif", "is an AVIF, not a JPEG"),
        (saved(base(8, 8), "TIFF"), "is a TIFF, not a JPEG"),
        (b"%PDF-1.7", "is a PDF, not a JPEG"),
        (b"\n<svg/>", "is XML or HTML, not a JPEG"),
        (re.sub(b"[\r\n\0]", b"", FILE), "has lost bytes, as with curl --data;"),
        (re.sub(b"[\r\n\0]", b"", JPEG), "has lost bytes, as with curl --data;"),
        (FILE.decode(errors="replace").encode(), "was read as text"),
        (JPEG.decode(errors="replace").encode(), "was read as text"),
        (FILE.decode("latin-1").encode(), "was read as text"),
        (JPEG.decode("latin-1").encode(), "was read as text"),
        (text(FILE).encode(), "is still in base64"),
        (text(JPEG).encode(), "is still in base64"),
        (b"cat.jpg", "is text; with curl -F, write @"),
        (b"\1\2\3", "is damaged, or not a JPEG, PNG, WebP, BMP or GIF"),
        (b"x" * 10**6, "is damaged, or not a JPEG, PNG, WebP, BMP or GIF"),
    ],
)
def test_the_error_says_what_a_file_is_instead(file: bytes, words: str) -> None:
    with pytest.raises(InvalidData, match=words):
        tensors_of(dialects_for(), image_form([file]))


PIXELS = pillow()


@pytest.mark.parametrize(
    "image, expected",
    [
        ({"scale": 1 / 127.5, "offset": -1}, PIXELS * np.float32(1 / 127.5) - 1),
        ({"mean": 100, "std": [2, 4, 8]}, (PIXELS - 100) / np.float32([2, 4, 8])),
        ({"color": "bgr"}, PIXELS[..., ::-1]),
        ({"preset": "keras.applications.mobilenet_v2"}, PIXELS / 127.5 - 1),
        ({"preset": "keras.applications.efficientnet"}, PIXELS),
        (
            {"preset": "keras.applications.resnet50"},
            PIXELS[..., ::-1] - np.float32([103.939, 116.779, 123.68]),
        ),
        (
            {"preset": "keras.applications.densenet"},
            (PIXELS / 255 - np.float32([0.485, 0.456, 0.406])) / np.float32([0.229, 0.224, 0.225]),
        ),
        ({"fit": "crop"}, pillow(box=(0, 0, 80, 60))),
    ],
)
def test_settings_say_what_becomes_of_pixels(image: dict[str, Any], expected: np.ndarray) -> None:
    np.testing.assert_allclose(row(**image), expected, rtol=1e-6, atol=1e-6)


def test_crop_takes_the_middle_and_pad_adds_black() -> None:
    spec = TensorSpec("image", (20, 20, 3), "float32")
    size = (20, 20)
    black = Image.new("RGB", (80, 80))
    black.paste(base(80, 60), (0, 10))

    assert np.array_equal(row(spec, fit="crop"), pillow(size=size, box=(10, 0, 70, 60)))
    assert np.array_equal(row(spec, fit="pad"), pillow(black, size=size))


@pytest.mark.parametrize(
    "shape, expected",
    [
        ((24, 32, 1), np.asarray(base(80, 60).convert("L").resize((32, 24), 2))[..., np.newaxis]),
        ((24, 32), np.asarray(base(80, 60).convert("L").resize((32, 24), 2))),
        ((3, 24, 32), PIXELS.transpose(2, 0, 1)),
        ((None, None, 3), np.asarray(base(80, 60))),
    ],
)
def test_sizes_and_channels_come_from_the_signature(
    shape: tuple[int | None, ...], expected: np.ndarray
) -> None:
    assert np.array_equal(row(TensorSpec("image", shape, "float32")), expected)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float16", "float64"])
def test_rows_have_the_dtype_of_the_input(dtype: str) -> None:
    found = row(TensorSpec("image", IMAGE.shape, dtype))

    assert found.dtype == dtype
    assert np.array_equal(found, PIXELS)


def test_open_sizes_are_those_of_the_setting_or_of_each_picture() -> None:
    spec = TensorSpec("image", (None, None, 3), "float32")

    assert np.array_equal(row(spec, resize=[24, 32]), PIXELS)
    with pytest.raises(InvalidData, match=r"different sizes; .* inputs.image.image.resize"):
        tensors_of(dialects_for(spec), native_json([FILE, OTHER]))


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(10))
def test_exif_is_followed_only_if_the_setting_says_so(orientation: int, form: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = saved(base(80, 60), form, exif=exif)
    picture = Image.open(io.BytesIO(file)).convert("RGB")

    assert np.array_equal(row(file=file), pillow(picture))
    turned = ImageOps.exif_transpose(Image.open(io.BytesIO(file))).convert("RGB")
    assert np.array_equal(row(file=file, exif=True), pillow(turned))


def test_a_picture_with_odd_exif_data_is_turned() -> None:
    """Its maker is a fraction, which Pillow cannot write."""
    entries = struct.pack("<HHIIHHIHH", 0x010F, 5, 1, 0, 0x0112, 3, 1, 6, 0)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + bytes(4)
    file = saved(base(80, 60), "PNG", exif=exif)

    turned = base(80, 60).transpose(Image.Transpose.ROTATE_270)
    assert np.array_equal(row(file=file, exif=True), pillow(turned))


def test_a_picture_with_broken_exif_data_is_not_turned() -> None:
    file = saved(base(80, 60), "PNG", exif=b"Exif\0\0no TIFF")

    assert np.array_equal(row(file=file, exif=True), pillow())


def test_draft_decodes_a_jpeg_smaller() -> None:
    file = saved(base(320, 240), "JPEG")

    assert not np.array_equal(row(file=file, draft=True), row(file=file))
    assert np.abs(row(file=file, draft=True) - row(file=file)).mean() < 20


@pytest.mark.parametrize(
    "spec, image, message",
    [
        (AGE, {}, r"age: float32\[\] is no input for pictures; they have the shape"),
        (IMAGE, {"resize": [1, 2]}, r"image.image.resize: \[1, 2\] is not the size"),
        (IMAGE, {"color": "rgba"}, "image.image.color: .* takes rgb or bgr, not rgba"),
        (IMAGE, {"mean": [1, 2]}, "image.image.mean: it has 2 numbers, but the input has 3 chan"),
        (
            IMAGE,
            {"preset": "keras.applications.vgg16", "scale": 2},
            "image.image.scale: preset is set as well",
        ),
        (
            TensorSpec("image", (8, 8, 1), "float32"),
            {"preset": "keras.applications.vgg16"},
            "image.image.preset: it is for 3 channels",
        ),
        (
            TensorSpec("image", (8, 8, 3), "uint8"),
            {"scale": 2},
            "image.image.scale: .* takes integers",
        ),
        (
            TensorSpec("image", (8, None, 3), "float32"),
            {},
            "image.image.resize is missing: .* leaves one side open",
        ),
    ],
)
def test_settings_that_do_not_fit_the_input(
    spec: TensorSpec, image: dict[str, Any], message: str
) -> None:
    inputs = (InputSettings(spec.name, ImageSettings.of(image)),)

    with pytest.raises(ConfigError, match=message):
        Dialects("m", "1", Signature((spec,), SIGNATURE.outputs), PredictSettings(), inputs=inputs)


def test_settings_of_an_unknown_input() -> None:
    inputs = (InputSettings("photo", ImageSettings()),)

    with pytest.raises(ConfigError, match=r"inputs.photo: .* its inputs are image"):
        Dialects("m", "1", SIGNATURE, PredictSettings(), inputs=inputs)


def test_tf_bilinear_is_between_the_nearest_pixels() -> None:
    """By hand: rows and columns of 2 pixels become 4, of which the outer ones are repeated."""
    file = saved(Image.fromarray(np.array([[0, 100], [200, 240]], np.uint8)), "PNG")

    found = row(TensorSpec("image", (4, 4), "float32"), file, method="tf_bilinear")

    assert found[0].tolist() == [0, 25, 75, 100]
    assert found[:, 0].tolist() == [0, 50, 150, 200]
    assert found[1, 1] == 71.25
