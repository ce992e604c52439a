"""Which settings are tested, and which are recommended, with made-up measurements."""

from __future__ import annotations

import pytest
import yaml

from model.process.batch_size import BatchSize, Point
from server.config import load_settings
from server.tune.candidates import (
    Candidate,
    candidates,
    of_engines,
    of_processes,
    queue_limit_ms,
)
from server.tune.choice import Overload, Trial, choose_trial, queue_limit_helps
from server.tune.engines import Measured, speed_up
from server.tune.settings import settings_yaml

FLAT = BatchSize(
    1024, tuple(Point(2**n, 0.0003) for n in range(11))
)  # all calls take the same time
STEADY = BatchSize(64, tuple(Point(2**n, 0.002 + 0.0005 * 2**n) for n in range(8)))  # 2.5 … 66 ms


def trial(name, *knees, limit="server", settings=None):
    results = [{"knee": {"rate": rate, "above": 2 * (rate or 1), "limit": limit}} for rate in knees]
    return Trial(Candidate(name, 64, settings or {}), results)


def overload(name, at_knee, *beyond):
    """`at_knee`: the share in time; `beyond`: answers in time per second, of 200/s."""
    steps = [{"rate": 200, "in_time": rate / 200, "due": 400, "seconds": 2.0} for rate in beyond]
    return Overload(Candidate(name, 64), [{"in_time": at_knee}], steps)


def test_the_defaults_come_first_unchanged():
    first = candidates(STEADY, 0.02)[0]

    assert (first.name, dict(first.settings)) == ("the defaults", {})
    assert first.rows == 64  # the fewest with 95 % of the best speed in calls of up to 50 ms


def test_fewer_rows_are_tried_if_calls_take_much_of_the_objective():
    """Calls may take 40 % or 20 % of 20 ms: 8 ms are 8 rows, 4 ms are 4 rows."""
    tried = candidates(STEADY, 0.02)

    assert [each.rows for each in tried if "max_rows" in each.settings] == [8, 4]


def test_no_size_is_tried_twice():
    """If all calls take the same time, only the wait is left to test."""
    tried = candidates(FLAT, 0.02)

    assert [dict(each.settings) for each in tried] == [{}, {"max_wait_ms": 2}]


@pytest.mark.parametrize("objective, wait", [(0.001, 1), (0.02, 2), (10, 5)])
def test_the_wait_that_is_tried_is_a_small_part_of_the_objective(objective, wait):
    assert candidates(FLAT, objective)[-1].settings == {"max_wait_ms": wait}


def scaled(by: float) -> BatchSize:
    return BatchSize(64, tuple(Point(rows, seconds * by) for rows, seconds in STEADY.curve))


def test_the_two_fastest_engines_are_tested_under_load():
    measured = [
        Measured("tensorflow", STEADY),
        Measured("frozen", scaled(0.9)),
        Measured("onnx", scaled(0.3)),
        Measured("openvino", scaled(0.5)),
    ]
    tried = of_engines(measured)

    assert [each.name for each in tried] == ["the defaults", "onnx", "openvino"]
    assert [dict(each.model) for each in tried] == [{}, {"engine": "onnx"}, {"engine": "openvino"}]
    assert speed_up(STEADY, scaled(0.5)) == pytest.approx(2)


def test_engines_that_are_slower_or_differ_are_not_tested():
    differs = Measured("openvino", None, "it answers otherwise than TensorFlow")
    tried = of_engines([Measured("tensorflow", STEADY), Measured("onnx", scaled(1.1)), differs])

    assert [each.name for each in tried] == ["the defaults"]
    assert str(differs) == "openvino: not used: it answers otherwise than TensorFlow"
    assert str(Measured("onnx", FLAT)).startswith("onnx: 1: 0.3, 2: 0.3, ")


@pytest.mark.parametrize(
    "cores, settings",
    [
        (1, [{}]),
        (2, [{}, {"threads": 1}, {"replicas": 2}]),
        (8, [{}, {"threads": 1}, {"replicas": 8}, {"replicas": 2}]),
    ],
)
def test_processes_and_threads_are_tried_by_the_number_of_cores(cores, settings):
    tried = of_processes(Candidate("the defaults", 64), cores)

    assert [dict(each.model) for each in tried] == settings


def test_what_was_best_so_far_is_the_base_of_what_is_tried_next():
    onnx = Candidate("onnx", 64, model={"engine": "onnx"})
    tried = [*of_processes(onnx, 2), *candidates(STEADY, 0.02, onnx)]

    assert {each.engine for each in tried} == {"onnx"}
    assert [each.name for each in tried] == [
        *("onnx", "onnx, threads 1", "onnx, replicas 2"),
        *("onnx", "onnx, max_rows 8", "onnx, max_rows 4", "onnx, max_wait_ms 2"),
    ]


def test_what_was_best_so_far_stays_without_a_clear_gain():
    choice = choose_trial([trial("onnx", 100, 110), trial("onnx, threads 1", 90, 200)])

    assert choice.why.startswith("onnx is kept: the gain from onnx, threads 1 is within")


def test_the_limit_on_the_queueing_time_leaves_time_for_two_calls():
    """Of 20 ms, two calls of 6 ms leave 8 ms; if nothing is left, it is one call."""
    assert queue_limit_ms(STEADY, 8, 0.02) == 8
    assert queue_limit_ms(STEADY, 64, 0.02) == 34
    assert queue_limit_ms(FLAT, 1024, 0.001) == 1


def test_clearly_better_settings_are_recommended():
    choice = choose_trial([trial("the defaults", 100, 110), trial("max_rows 8", 150, 160)])

    assert choice.trial.candidate.name == "max_rows 8"
    assert "With max_rows 8 the server sustained 1.48 times the rate of the defaults" in choice.why


@pytest.mark.parametrize("knees", [(100, 200), (114, 115), (105, 108)])
def test_settings_within_the_noise_are_not_recommended(knees):
    """Only one round was better, or all were by 5 % or less."""
    choice = choose_trial([trial("the defaults", 100, 110), trial("max_rows 8", *knees)])

    assert choice.trial.candidate.name == "the defaults"


def test_the_reason_says_that_a_gain_is_noise():
    choice = choose_trial([trial("the defaults", 100, 110), trial("max_rows 8", 90, 200)])

    assert "the gain from max_rows 8 is within the differences between rounds" in choice.why
    assert "max_rows 8: 90/s, 200/s; the defaults: 100/s, 110/s" in choice.why


def test_defaults_that_are_the_best_are_recommended():
    choice = choose_trial([trial("the defaults", 100, 110), trial("max_rows 8", 50, 60)])

    assert choice.trial.candidate.name == "the defaults"
    assert "No other settings sustained a higher rate" in choice.why


def test_the_defaults_are_recommended_if_the_client_was_the_limit():
    defaults = trial("the defaults", 100, 110)
    defaults.results[1]["knee"]["limit"] = "client"  # one round is enough
    choice = choose_trial([defaults, trial("max_rows 8", 150, 160)])

    assert choice.trial is defaults
    assert "for lack of evidence" in choice.why


def test_settings_with_a_knee_beat_defaults_without_one():
    choice = choose_trial([trial("the defaults", None, None), trial("max_rows 8", 50, 60)])

    assert choice.trial.candidate.name == "max_rows 8"
    assert "sustained 55/s, and no rate with the defaults" in choice.why


def test_a_queueing_limit_that_helps_during_overload_is_recommended():
    better, why = queue_limit_helps(overload("a", 0.99, 2, 3), overload("b", 0.99, 80, 90))

    assert better
    assert "helps at 200/s, twice the knee: 80 to 90/s answered in time with it, 2 to" in why


@pytest.mark.parametrize(
    "plain, limited, words",
    [
        ((0.99, 50, 60), (0.99, 61, 90), "no clear difference"),
        ((0.99, 2, 3), (0.9, 80, 90), "at the knee it rejected requests"),
    ],
)
def test_a_queueing_limit_without_a_gain_is_not_recommended(plain, limited, words):
    better, why = queue_limit_helps(overload("a", *plain), overload("b", *limited))

    assert not better
    assert words in why


def test_the_server_accepts_the_settings_file(tmp_path):
    """Its reasons are comments, also those of several lines."""
    batching, model = {"max_rows": 8, "max_queue_ms": 12.5}, {"engine": "onnx", "replicas": 2}
    text = settings_yaml(Candidate("best", 8, batching, model), ["one\ntwo: three"])
    (tmp_path / "tuned.yaml").write_text(text)
    found = load_settings(["m.keras", "--config", "tuned.yaml"], {}, tmp_path)
    settings, model_settings = found.batching, found.model

    assert (settings.max_rows, settings.max_wait_ms, settings.max_queue_ms) == (8, 0, 12.5)
    assert (model_settings.path, model_settings.engine) == ("m.keras", "onnx")
    assert (model_settings.threads, model_settings.replicas) == ("auto", 2)
    assert text.startswith("# one\n# two: three\nmodel:\n  engine: onnx\n")
    assert "threads: auto  # the default" in text
    assert "max_wait_ms: 0  # the default" in text


def test_defaults_are_marked_as_defaults():
    text = settings_yaml(Candidate("the defaults", 64), [])

    assert yaml.safe_load(text) == {
        "model": {"engine": "tensorflow", "threads": "auto", "replicas": 1},
        "batching": {"max_rows": "auto", "max_wait_ms": 0, "max_queue_ms": 1000},
    }
    assert text.count("# the default") == 6
