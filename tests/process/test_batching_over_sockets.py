"""The most important properties of batching, over real sockets to a real process."""

from __future__ import annotations

import re

import pytest

from tests.process.conftest import Start
from tests.process.fake_model import POISON
from tests.process.harness import Answer, Server, wait_until

pytestmark = pytest.mark.process

DEADLINE_S = 0.3
HEALTH = ("/v2/health/live", "/v2/health/ready")


def test_a_single_request_starts_at_once(server: Server) -> None:
    """It does not wait for a timer."""
    fastest = min(server.post([n]).seconds for n in range(10))
    assert fastest < 0.05


def test_requests_are_batched_while_the_model_is_busy(server: Server) -> None:
    first = server.occupy()
    others = [server.send([n]) for n in range(1, 33)]
    server.settle()
    server.gate.release()

    assert first.answer().prediction == 1
    assert [each.answer().prediction for each in others] == [3 * n + 1 for n in range(1, 33)]
    assert sorted(server.calls[-1]) == [*range(1, 33)]


def test_a_request_larger_than_a_batch_is_answered_in_order(server: Server) -> None:
    rows = [[n] for n in range(1000)]
    assert server.post(rows).prediction == [3 * n + 1 for n in range(1000)]


def test_a_small_request_overtakes_the_rest_of_a_large_one(server: Server) -> None:
    first = server.occupy()
    large = server.send([[n] for n in range(1000, 2000)])
    server.settle()
    small = server.send([5])
    server.settle()
    before = len(server.calls)
    server.gate.release()

    answers = [each.answer() for each in (first, large, small)]
    assert [each.status for each in answers] == [200, 200, 200]
    with_small = [number for number, rows in enumerate(server.calls[before:]) if 5 in rows]
    assert with_small in ([0], [1])


def test_a_request_of_a_disconnected_client_is_not_computed(server: Server) -> None:
    first = server.occupy()
    before = len(server.calls)
    leaving = server.send([77], {"X-Request-ID": "leaving"})
    staying = server.send([78])
    server.settle()
    leaving.close()
    server.until_logged("leaving")
    server.gate.release()

    assert first.answer().status == 200
    assert staying.answer().prediction == 235
    assert server.calls[before:] == [[78]]
    [line] = [line for line in server.stderr.splitlines() if "leaving" in line]
    assert " 499 " in line


def test_a_half_closed_client_counts_as_disconnected(server: Server) -> None:
    first = server.occupy()
    before = len(server.calls)
    leaving = server.send([87], {"X-Request-ID": "half-left"})
    server.settle()
    leaving.socket.shutdown(1)
    server.until_logged("half-left")
    leaving.close()
    server.gate.release()

    assert first.answer().status == 200
    server.settle()
    assert len(server.calls) == before


def test_a_disconnect_during_a_model_call_does_not_affect_others(server: Server) -> None:
    leaving = server.occupy()
    others = [server.send([n]) for n in range(1, 9)]
    leaving.close()
    server.settle()
    server.gate.release()

    assert [each.answer().prediction for each in others] == [3 * n + 1 for n in range(1, 9)]


def test_only_the_bad_request_of_a_batch_of_64_fails(server: Server) -> None:
    first = server.occupy()
    rows = [*range(100, 163)]
    rows.insert(31, POISON)
    asked = [server.send([x], {"X-Request-ID": f"row{x}"}) for x in rows]
    server.settle()
    before = len(server.calls)
    server.gate.release()

    assert first.answer().status == 200
    answers = dict(zip(rows, [each.answer() for each in asked], strict=True))
    assert sorted(server.calls[before]) == sorted(rows), "they were one batch"
    assert [x for x, answer in answers.items() if answer.status != 200] == [POISON]
    assert all(answers[x].prediction == 3 * x + 1 for x in rows if x != POISON)
    assert len(server.calls) - before <= 1 + 4 * 6
    assert_is_failure(answers[POISON])


def assert_is_failure(answer: Answer) -> None:
    """Check a 500: it has the request id, and no details of the exception."""
    assert answer.status == 500
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json["instance"] == answer.headers["X-Request-ID"] == f"row{POISON}"
    assert "poison" not in answer.body.decode()
    assert "Traceback" not in answer.body.decode()


def test_the_log_has_the_exception_of_the_model(server: Server) -> None:
    before = len(server.stderr)
    assert server.post([POISON]).status == 500
    wait_until(lambda: f"{POISON} is poison" in server.stderr[before:])
    assert re.search(r"ERROR server\S*: the model failed on 1 request", server.stderr[before:])


def test_a_hung_model_call_answers_504_at_the_deadline(start: Start) -> None:
    """Requests in the hung call get it, too, and other endpoints still answer."""
    server = start()
    server.gate.hold()
    late = []
    for n in range(5):
        answer = server.post([n], {"X-Request-Timeout-Ms": f"{DEADLINE_S * 1000:.0f}"})
        assert answer.status == 504
        assert answer.headers["Content-Type"] == "application/problem+json"
        late.append(answer.seconds - DEADLINE_S)
        assert [server.get(path).status for path in HEALTH] == [200, 200]

    assert min(late) < 0.05, late
    assert all(seconds > -0.002 for seconds in late), late
    assert server.calls == [[0]], "it was stuck in the first call all the time"


def test_rows_past_their_deadline_are_not_computed(start: Start) -> None:
    server = start("--batching.deadline_ms", "200", "--model.hang_timeout_s", "0")
    server.gate.hold()
    assert server.post([0]).status == 504
    assert server.post([1]).status == 504
    server.gate.release()

    assert server.post([2]).prediction == 7
    assert server.calls == [[0], [2]]


def test_a_full_queue_rejects_at_once_and_loses_nothing(start: Start) -> None:
    server = start("--batching.queue_rows", "8")
    first = server.occupy()
    waiting = [server.send([n]) for n in range(1, 9)]
    server.settle()

    refused = [server.post([n]) for n in range(20, 25)]
    assert [each.status for each in refused] == [503] * 5
    assert min(each.seconds for each in refused) < 0.05
    assert all(int(each.headers["Retry-After"]) >= 1 for each in refused)
    assert {each.json["type"].rpartition("/")[2] for each in refused} == {"overloaded"}

    server.gate.release()
    assert first.answer().prediction == 1
    assert [each.answer().prediction for each in waiting] == [3 * n + 1 for n in range(1, 9)]
    assert server.post([30]).prediction == 91
    assert not any(20 in rows for rows in server.calls)


def test_a_queue_that_would_take_too_long_rejects_at_once(start: Start) -> None:
    """Retry-After is based on the measured speed; there is always room for one more batch."""
    server = start(
        "--batching.max_rows=1", "--batching.max_queue_ms=500", environ={"FAKE_SECONDS": "0.1"}
    )
    assert server.post([0]).status == 200
    asked = [server.send([n]) for n in range(1, 21)]
    answers = [each.answer() for each in asked]

    refused = [each for each in answers if each.status == 503]
    assert [each.status for each in answers if each not in refused] == [200] * (20 - len(refused))
    assert 5 <= 20 - len(refused) <= 12, "one runs, and half a second's worth waits before the last"
    assert all(1 <= int(each.headers["Retry-After"]) <= 2 for each in refused)
