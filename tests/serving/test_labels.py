"""Labels from the settings: read from a list or a file, and checked against the outputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.signature import Signature, TensorSpec
from server.config.outputs import OutputSettings
from server.dialects.labels import Labels
from server.serving.labels import LabelsError, labels_for, read_labels

X = TensorSpec("x", (1,), "float32")


def labels_of(settings: OutputSettings, *outputs: TensorSpec) -> Labels:
    """Return the labels of an output, as a model with these outputs gets them."""
    return labels_for(read_labels([settings]), Signature((X,), outputs))[settings.name]


def scores(*shape: int | None, dtype: str = "float32") -> TensorSpec:
    return TensorSpec("y", shape, dtype)


def why_not(settings: OutputSettings, *outputs: TensorSpec) -> str:
    with pytest.raises(LabelsError) as caught:
        labels_of(settings, *outputs)
    return str(caught.value)


def test_a_list_has_the_labels_in_their_order() -> None:
    assert labels_of(OutputSettings("y", ("a", "b")), scores(2)) == Labels(("a", "b"), 2)


@pytest.mark.parametrize("data", [b"a\nb", b"a\nb\n", b"a\r\nb\r\n\r\n", b"\xef\xbb\xbfa\n b \n"])
def test_a_file_has_a_label_on_each_line(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_bytes(data)

    assert labels_of(OutputSettings("y", str(file)), scores(2)).names == ("a", "b")


def test_the_path_of_a_file_starts_at_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "labels.txt").write_text("a\nb\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)

    assert labels_of(OutputSettings("y", "labels.txt"), scores(2)).names == ("a", "b")


@pytest.mark.parametrize(
    "top_k, threshold, most",
    [(None, None, 5), (2, None, 2), (99, None, 7), (None, 0.5, 7), (3, 0.5, 3)],
)
def test_an_answer_has_five_labels_or_as_many_as_are_set(
    top_k: int | None, threshold: float | None, most: int
) -> None:
    labels = labels_of(OutputSettings("y", tuple("abcdefg"), top_k, threshold), scores(7))

    assert (labels.top_k, labels.threshold) == (most, threshold)


@pytest.mark.parametrize("spec", [scores(1), scores()])
def test_one_number_has_one_label_or_two(spec: TensorSpec) -> None:
    assert labels_of(OutputSettings("y", ("no", "yes")), spec).names == ("no", "yes")
    assert labels_of(OutputSettings("y", ("yes",)), spec).names == ("yes",)


@pytest.mark.parametrize(
    "names, spec, words",
    [
        (
            ("a", "b", "c"),
            scores(10),
            "outputs.y.labels: the list has 3 labels, but the output has 10 numbers for each "
            "example; give one label for each, in their order",
        ),
        (("a",), scores(2), "the list has 1 label, but the output has 2 numbers"),
        (("a", "b"), scores(4, 3), "the output has 3 numbers"),
        (
            ("a", "b", "c"),
            scores(1),
            "the output is one number for each example; give one label, or two: that of 0 and "
            "that of 1",
        ),
        (("a", "b"), scores(1, dtype="int64"), "the output is one number for each example"),
        (("a", "b"), scores(2, dtype="string"), "the output is string, and labels are for numbers"),
        (("a", "b"), scores(2, dtype="bool"), "the output is bool, and labels are for numbers"),
        (("a", "b"), scores(None), "the last axis of the output [?] varies"),
    ],
)
def test_labels_that_do_not_fit_are_rejected(
    names: tuple[str, ...], spec: TensorSpec, words: str
) -> None:
    assert words in why_not(OutputSettings("y", names), spec)


def test_an_output_that_the_model_does_not_have_is_rejected() -> None:
    said = why_not(OutputSettings("z", ("a",)), scores(1), TensorSpec("w", (1,), "float32"))

    assert said == "outputs.z.labels: the model has no such output; its outputs are y, w"


@pytest.mark.parametrize(
    "data, words",
    [
        (None, "cannot be read: No such file or directory"),
        (b"\xff\xfe", "is not a text file in UTF-8"),
        (b"a\n\nb\n", "line 2 of"),
        (b"", "line 1 of"),
        (b"a\nb\nc\n", "has 3 labels, but the output has 2 numbers"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    data: bytes | None, words: str, tmp_path: Path
) -> None:
    file = tmp_path / "labels.txt"
    if data is not None:
        file.write_bytes(data)

    said = why_not(OutputSettings("y", str(file)), scores(2))

    assert said.startswith("outputs.y.labels: ")
    assert str(file) in said
    assert words in said


def test_a_file_that_is_too_large_is_not_read_whole() -> None:
    said = why_not(OutputSettings("y", "/dev/zero"), scores(2))

    assert said == "outputs.y.labels: /dev/zero is larger than 16 MiB"
