"""`batching.max_rows: auto`: the choice, on a clock that advances only with calls."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from model.process.batch_size import BatchSize, Limits, Point, measure
from model.process.memory import Memory
from tests.support.harness import FakeModel, over_http, serving, with_settings

MS = 0.001
LIMITS = Limits()


class FakeMemory(Memory):
    """Memory of a process that grows with the rows of a call.

    Attributes:
        left: what is available at first; what the process takes is no longer.
        of_row: what a call takes for each row.
        keeps: whether the process keeps what a call has taken.
    """

    def __init__(self, left: int = 2**40, of_row: int = 0, *, keeps: bool = False) -> None:
        self.left = left
        self.of_row = of_row
        self.keeps = keeps
        self.most = 0  # that it ever had
        self._now = self._peak = 0

    def take(self, rows: int) -> None:
        self._peak = max(self._now, self.of_row * rows)
        self._now = self._peak if self.keeps else self._now
        self.most = max(self.most, self._peak)

    def available(self) -> int:
        return self.left - self._now

    def resident(self) -> int:
        return self._now

    def reset_peak(self) -> None:
        self._peak = self._now

    def peak(self) -> int:
        return self._peak


class Machine:
    """A clock, and calls that take the time that `seconds` returns for their rows.

    Attributes:
        memory: of the process.
        calls: the rows of every call that was timed.
        prepared: the sizes that were called for the first time.
        told: the number of sizes that had been called for the first time when a size was told.
        answer_nbytes: the size of the answer to a row.
        disturb: what a call takes longer, by the number of the call.
    """

    def __init__(self, seconds: Callable[[int], float]) -> None:
        self.now = 100.0
        self.memory = FakeMemory()
        self.told: list[tuple[int, str]] = []
        self.calls: list[int] = []
        self.prepared: list[int] = []
        self.first_call = 0.0
        self.answer_nbytes = 4  # of a row
        self.disturb: Callable[[int], float] = lambda number: 0.0
        self._seconds = seconds

    def clock(self) -> float:
        return self.now

    def prepare(self, rows: int) -> Callable[[], int]:
        self.prepared.append(rows)
        self.memory.take(rows)
        self.now += self.first_call

        def call() -> int:
            self.calls.append(rows)
            self.now += self._seconds(rows) + self.disturb(len(self.calls))
            return rows * self.answer_nbytes

        return call

    def measure(self, limits: Limits = LIMITS, row_nbytes: int = 4) -> BatchSize:
        def tell(step: str) -> None:
            self.told.append((len(self.prepared), step))

        return measure(self.prepare, row_nbytes, limits, self.clock, self.memory, tell)


def seconds_of(size: BatchSize) -> list[float]:
    """How long calls took, by number of rows."""
    return [point.seconds for point in size.curve]


def linear(fixed: float, per_row: float) -> Callable[[int], float]:
    """Return a duration with a fixed part and a part per row."""
    return lambda rows: fixed + per_row * rows


def saturated(rows: int) -> float:
    """The duration of calls that are not faster per row with more than 32 rows."""
    return max(rows, 32) * 0.1 * MS


# The choice


@pytest.mark.parametrize(
    "seconds, rows",
    [
        (linear(1 * MS, 0), 1024),  # nothing but overhead: the more the better
        (linear(0, 1 * MS), 1),  # no overhead: more rows gain nothing
        (
            linear(1 * MS, 0.1 * MS),
            128,
        ),  # 256 are the best within 50 ms: 64 have 90 % of it, 128 have 96 %
        (saturated, 32),
    ],
    ids=["overhead alone", "rows alone", "both", "saturated"],
)
def test_the_fewest_rows_that_reach_95_percent_of_the_best_are_chosen(
    seconds: Callable[[int], float], rows: int
) -> None:
    assert Machine(seconds).measure().rows == rows


def test_the_measurements_are_kept() -> None:
    size = Machine(linear(1 * MS, 1 * MS)).measure()

    assert [point.rows for point in size.curve] == [1, 2, 4, 8, 16, 32, 64]
    assert seconds_of(size) == pytest.approx([0.002, 0.003, 0.005, 0.009, 0.017, 0.033, 0.065])
    assert size.curve[1].rows_per_second == pytest.approx(2 / 0.003)


def test_the_curve_is_one_line() -> None:
    size = BatchSize(2048, (Point(1, 0.5), Point(2048, 0.5)))

    assert str(size) == "2048 (rows/s by rows in a call: 1: 2; 2,048: 4,096)"
    assert str(BatchSize(17)) == "17"


# Limits


def test_it_stops_at_the_most_rows() -> None:
    machine = Machine(linear(1 * MS, 0))

    assert machine.measure(Limits(rows=100)).rows == 64
    assert max(machine.prepared) == 64


def test_it_stops_at_a_call_that_is_too_long() -> None:
    """Twice the rows would have a better throughput, but the call would be too long."""
    machine = Machine(linear(10 * MS, 1 * MS))

    assert machine.measure(Limits(call_seconds=0.03)).rows == 16
    assert max(machine.calls) == 32


def test_it_stops_at_the_most_bytes_of_input() -> None:
    machine = Machine(linear(1 * MS, 0))
    machine.answer_nbytes = 0

    assert machine.measure(row_nbytes=2**20).rows == 64
    assert max(machine.prepared) == 64
    assert machine.measure(row_nbytes=2**40).rows == 1
    assert machine.measure(row_nbytes=0).rows == 1024


@pytest.mark.parametrize("answer_nbytes, rows", [(2**20, 64), (2**24, 4), (2**26, 1), (2**30, 1)])
def test_it_stops_at_the_most_bytes_of_output(answer_nbytes: int, rows: int) -> None:
    """A small row may have a large answer, as of a layer that enlarges images."""
    machine = Machine(linear(1 * MS, 0))
    machine.answer_nbytes = answer_nbytes

    assert machine.measure(row_nbytes=0).rows == rows
    assert max(machine.prepared) == rows


def test_input_and_output_count_together() -> None:
    machine = Machine(linear(1 * MS, 0))
    machine.answer_nbytes = 2**19

    assert machine.measure(row_nbytes=2**19).rows == 64
    assert max(machine.prepared) == 64


@pytest.mark.parametrize("keeps, rows", [(False, 32), (True, 64)])
def test_it_stops_before_memory_runs_out(
    caplog: pytest.LogCaptureFixture, keeps: bool, rows: int
) -> None:
    """Of 100 MiB, at a MiB a row: a process may grow by half of what is left.

    With 32 rows it would grow by 64 MiB for 64; one that keeps 32 MiB would by 32, of 68.
    """
    caplog.set_level("INFO")
    machine = Machine(linear(1 * MS, 0))
    machine.memory = FakeMemory(100 * 2**20, 2**20, keeps=keeps)

    assert machine.measure().rows == rows
    assert machine.memory.most == rows * 2**20
    assert f"calls of {2 * rows} rows are not tried: they might take 64 MiB" in caplog.text


def test_what_was_taken_once_is_not_counted_twice() -> None:
    """A process that has 500 MiB already, and takes no more for calls, is not stopped by them."""
    machine = Machine(linear(1 * MS, 0))
    machine.memory = FakeMemory(600 * 2**20)
    machine.memory._now = 500 * 2**20

    assert machine.measure().rows == 1024


def test_a_single_row_is_tried_whatever_it_takes() -> None:
    machine = Machine(linear(1 * MS, 0))
    machine.memory = FakeMemory(10, 1000)

    assert machine.measure().rows == 1


def test_each_size_is_told_before_it_is_tried() -> None:
    machine = Machine(linear(1 * MS, 0))
    machine.measure(Limits(rows=1024))

    steps = [f"measuring the batch size: calls of {2**n:,} rows" for n in range(11)]
    assert machine.told == list(enumerate(steps))


def test_it_stops_when_its_time_is_over() -> None:
    machine = Machine(linear(1 * MS, 0))
    machine.first_call = 3.0
    started = machine.now

    size = machine.measure()
    assert machine.now - started < 10 + 3 + 0.001
    assert [point.rows for point in size.curve] == [1, 2, 4, 8]
    assert size.rows == 8


def test_many_rounds_of_long_calls_end_in_time() -> None:
    machine = Machine(linear(40 * MS, 0.001 * MS))
    started = machine.now

    assert machine.measure(Limits(seconds=2)).rows == 1024
    assert machine.now - started < 2 + 0.05


def test_a_model_that_is_slow_with_one_row_gets_one_row() -> None:
    machine = Machine(linear(20, 0))

    assert machine.measure().rows == 1
    assert machine.calls == [1]


def test_the_first_call_of_each_size_is_not_timed() -> None:
    machine = Machine(linear(1 * MS, 0))
    machine.first_call = 0.4

    assert all(point.seconds == pytest.approx(1 * MS) for point in machine.measure().curve)


# Noise


def test_a_single_slow_call_does_not_end_the_measurement() -> None:
    machine = Machine(saturated)
    machine.disturb = lambda number: 1.0 if number in (3, 6) else 0.0

    assert machine.measure().rows == 32
    assert max(machine.calls) > 32


def test_a_machine_that_is_busy_for_a_while_does_not_change_the_choice() -> None:
    quiet = Machine(saturated).measure()
    for busy in range(100):
        machine = Machine(saturated)
        machine.disturb = lambda number, busy=busy: 20 * MS * (busy <= number < busy + 30)
        size = machine.measure()
        assert size.rows == quiet.rows
        short = len(quiet.curve) - 1
        assert seconds_of(size)[:short] == pytest.approx(seconds_of(quiet)[:short])


def test_a_curve_that_cannot_be_is_looked_at_again() -> None:
    """A group out of its quota of CPU time slows down all that is called for the rest of it."""
    quiet = Machine(saturated).measure()
    machine = Machine(saturated)
    calls_of_8 = 0

    def throttled(number: int) -> float:
        nonlocal calls_of_8
        calls_of_8 += machine.calls[-1] == 8
        return 40 * MS if machine.calls[-1] == 8 and calls_of_8 <= 12 else 0.0

    machine.disturb = throttled
    size = machine.measure()

    assert size.rows == quiet.rows
    assert seconds_of(size)[:4] == pytest.approx(seconds_of(quiet)[:4])
    assert machine.calls.count(8) == 1 + 15 + 15
    assert len(Machine(saturated).measure().curve) == len(size.curve)


def test_a_curve_that_can_be_is_looked_at_once() -> None:
    machine = Machine(linear(1 * MS, 0.1 * MS))
    machine.measure()

    assert machine.calls.count(8) == 1 + 15


# In the service


@over_http
async def test_the_service_measures_its_model_and_logs_its_choice(caplog) -> None:
    model = FakeModel()
    caplog.set_level("INFO")
    async with serving(model, with_settings(batching={"max_rows": "auto"})) as server:
        size = server.service.model.batch_size
        assert server.service.model.batcher.queue.max_rows == size.rows
        assert (await server.predict([10])).json == {"prediction": 31.0}

    assert [point.rows for point in size.curve][:2] == [1, 2]
    assert f"batching.max_rows: {size}" in caplog.text


@over_http
async def test_a_call_may_be_as_long_as_the_settings_say() -> None:
    model = FakeModel()
    model.seconds = 0.01
    settings = with_settings(batching={"max_rows": "auto", "max_batch_ms": 5})
    async with serving(model, settings) as server:
        size = server.service.model.batch_size

    assert (size.rows, len(size.curve)) == (1, 1)


@over_http
async def test_nothing_is_measured_if_max_rows_is_a_number(caplog) -> None:
    caplog.set_level("INFO")
    async with serving(settings=with_settings(batching={"max_rows": 17})) as server:
        assert server.service.model.batch_size == BatchSize(17)

    assert "batching.max_rows" not in caplog.text
