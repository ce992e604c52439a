"""The form of the start page: what each input becomes."""

from __future__ import annotations

import pytest

from model.signature import TensorSpec
from server.handlers.start_page import Field, shown_pictures


@pytest.mark.parametrize(
    "shape, dtype, value, kind",
    [
        ((1,), "float32", "10.0", "numbers"),
        ((), "int64", "3", "numbers"),
        ((12,), "float32", str([1.0] * 12), "numbers"),
        ((13,), "float32", str([1.0] * 13), "json"),
        ((None,), "float32", "[1.0, 2.0]", "json"),
        ((2, 2), "float32", "[[1.0, 2.0], [3.0, 4.0]]", "json"),
        ((2,), "bool", "[true, false]", "json"),
        ((3,), "float32", "", "json"),
        ((), "string", '"some words"', "text"),
        ((1,), "string", '"some words"', "text"),
        ((2,), "string", '["a", "b"]', "json"),
    ],
)
def test_few_numbers_and_texts_have_fields_for_people(
    shape: tuple[int | None, ...], dtype: str, value: str, kind: str
) -> None:
    field = Field("input-0", TensorSpec("x", shape, dtype), value, ())

    assert field.kind == kind
    if kind == "numbers":
        assert len(field.numbers) == max(1, (len(shape) and shape[0]) or 0)
    if kind == "text":
        assert field.text == "some words"


def test_an_input_of_pictures_takes_files() -> None:
    spec = TensorSpec("x", (8, 8, 3), "float32")

    assert Field("input-0", spec, "", (8, 8, 3), takes_pictures=True).kind == "picture"


PICTURE = Field("input-0", TensorSpec("x", (8, 8, 3), "float32"), "", (), takes_pictures=True)
AGE = Field("input-1", TensorSpec("age", (1,), "float32"), "7.0", ())
NAME = Field("input-2", TensorSpec("it's", (), "string"), '"some words"', ())
LONG = Field("input-3", TensorSpec("long", (500,), "float32"), "", (500,))


@pytest.mark.parametrize(
    "fields, command",
    [
        (
            [PICTURE],
            "curl --data-binary @picture.jpg -H 'Content-Type: image/jpeg' http://h/predict",
        ),
        (
            [PICTURE, AGE, NAME],
            "curl -F x=@picture.jpg -F age=7.0 -F 'it'\"'\"'s=some words' http://h/predict",
        ),
        ([PICTURE, LONG], ""),
        ([AGE, NAME], ""),
    ],
)
def test_a_model_of_pictures_has_a_command_that_sends_files(
    fields: list[Field], command: str
) -> None:
    found = [each.command for each in shown_pictures(fields, "http://h", needs_key=False)]

    assert found == ([command] if command else [])
