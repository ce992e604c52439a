"""What is kept of an answer for the comparison with the next version."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.process.messages import Message
from model.process.prepare import LoadRequest, NotServable, prepare
from model.process.protocol import LOAD, READY, load_fields, load_request, report_fields, report_of
from model.process.sample import MAX_KEPT_BYTES, Sample, in_form_of, kept
from model.signature import Signature, TensorSpec
from model.tensors import Tensors, distance, is_finite
from tests.support.fake_engine import REQUEST, FakeEngine, Network, version

IMAGES = Signature(
    (TensorSpec("x", (2,), "float32"),), (TensorSpec("y", (512, 512, 3), "float32"),)
)
LARGE_ROWS = Signature(
    (TensorSpec("x", (400, 400), "float32"),), (TensorSpec("y", (1,), "float32"),)
)
ONE_ROW = replace(REQUEST, max_rows=1)


def image(slope: float, spoil: float = 0.0) -> Network:
    """A network that answers with an image; its last channel is off by `spoil`."""

    def network(x: np.ndarray) -> np.ndarray:
        y = np.full((len(x), 512, 512, 3), 1, "float32") * (slope * x[:, :1, None, None])
        y[..., 2] += spoil
        return y

    return network


def test_a_small_answer_is_kept_whole() -> None:
    answer = Tensors({"y": np.zeros((1, MAX_KEPT_BYTES // 4), "float32")})

    assert kept(answer) is answer


def test_of_a_large_answer_a_sample_of_each_row_is_kept() -> None:
    answer = Tensors({"y": np.arange(2 * 2**20, dtype="float32").reshape(2, 1024, 1024)})
    sample = kept(answer)

    assert isinstance(sample, Sample)
    assert (len(sample), sample.nbytes <= 2**14) == (2, True)
    first, second = sample.arrays["y"]
    assert set(first) <= set(range(2**20))
    assert (second == first + 2**20).all()


def test_answers_are_compared_at_the_same_places() -> None:
    answer = Tensors({"y": np.random.default_rng(1).random((1, 2**19))})
    other = Tensors({"y": answer.arrays["y"] * 1.5})
    sample = kept(answer)

    assert distance(sample, in_form_of(sample, answer)) == 0
    assert distance(sample, in_form_of(sample, other)) == pytest.approx(0.5)
    assert in_form_of(answer, other) is other


def test_a_sample_is_finite_exactly_if_the_whole_answer_is() -> None:
    array = np.zeros((1, 2**20), "float32")
    assert is_finite(kept(Tensors({"y": array})))
    for place in (0, 12_345, -1):
        spoilt = array.copy()
        spoilt[0, place] = np.inf
        assert not is_finite(kept(Tensors({"y": spoilt})))


def test_strings_are_sampled() -> None:
    words = np.array([[b"some words"] * 2**17], object)

    assert set(kept(Tensors({"y": words})).arrays["y"][0]) == {b"some words"}


def test_a_report_has_no_large_answer() -> None:
    _, report = prepare(lambda _: FakeEngine(image(1), IMAGES), ONE_ROW)

    assert [len(pair.rows) for pair in report.golden] == [1, 2]
    assert all(pair.answer.nbytes < 2**14 for pair in report.golden)


def test_a_report_has_one_row_if_rows_are_large() -> None:
    engine = FakeEngine(lambda x: x[:, 0, :1], LARGE_ROWS)
    _, report = prepare(lambda _: engine, ONE_ROW)

    assert [len(pair.rows) for pair in report.golden] == [1]


def next_version(network: Network) -> float | None:
    """Load a version after one whose images are ones; return how far its answers moved."""
    before = version(image(1), IMAGES, rows=1)
    _, report = prepare(lambda _: FakeEngine(network, IMAGES), replace(ONE_ROW, before=before))
    return report.moved


def test_a_version_that_answers_alike_has_not_moved() -> None:
    assert next_version(image(1)) == 0


@pytest.mark.torture
def test_a_version_that_differs_in_one_channel_has_moved() -> None:
    assert next_version(image(1, spoil=0.5)) == pytest.approx(0.5, rel=0.5)


def test_a_version_with_a_nan_anywhere_is_rejected() -> None:
    def network(x: np.ndarray) -> np.ndarray:
        y = image(1)(x)
        y[:, 100, 100, 1] = np.nan
        return y

    with pytest.raises(NotServable, match="NaN"):
        next_version(network)


def test_samples_arrive_as_samples() -> None:
    _, report = prepare(lambda _: FakeEngine(image(1), IMAGES), ONE_ROW)
    fields, arrays = report_fields(report)
    arrived = report_of(Message(READY, fields, arrays))
    before = version(image(1), IMAGES, rows=1)
    fields, arrays = load_fields(LoadRequest("/a", before=before))
    again = load_request(
        Message(LOAD, {**fields, "before": {**fields["before"], "batch_size": [1, []]}}, arrays)
    )

    assert again.before
    for pair in (*arrived.golden, *again.before.golden):
        assert isinstance(pair.answer, Sample)
