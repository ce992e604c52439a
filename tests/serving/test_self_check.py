"""A model that fails on what it once answered is not ready; a client's bad rows change nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from server.batching import ModelUnavailable
from server.serving.self_check import SelfCheck
from tests.http.test_http import assert_plain_error, assert_problem
from tests.support.harness import SOON, FakeModel, Server, over_http, serving

ERROR = ValueError("no GPU")


class Example:
    """What a model answers to its example; each attempt can be waited for."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.asked: asyncio.Queue[None] = asyncio.Queue()

    async def __call__(self) -> None:
        self.asked.put_nowait(None)
        if self.error:
            raise self.error

    async def until_asked(self) -> None:
        async with asyncio.timeout(SOON):
            await self.asked.get()
        await asyncio.sleep(0)


@pytest.mark.logs_warnings
@pytest.mark.gen_test
async def test_it_asks_again_until_there_is_an_answer() -> None:
    example = Example()
    check = SelfCheck("line", example, pause=0.01)
    example.error = ERROR
    check.failed([], ERROR, isolated=False)
    for _ in range(3):
        await example.until_asked()
        assert check.fails
    example.error = None
    while check.fails:
        await example.until_asked()
    await asyncio.sleep(0.05)  # the time in which nothing more should be asked

    assert example.asked.empty()


@pytest.mark.parametrize("error, isolated", [(ERROR, True), (ModelUnavailable(""), False)])
@pytest.mark.gen_test
async def test_what_is_no_fault_of_the_model_is_not_checked(
    error: Exception, isolated: bool
) -> None:
    """Others of the batch were answered; or no call can follow."""
    example = Example()
    SelfCheck("line", example, pause=0).failed([], error, isolated)
    await asyncio.sleep(0.05)  # the time in which nothing should be asked

    assert example.asked.empty()


@pytest.mark.logs_warnings
@pytest.mark.gen_test
async def test_it_ends_with_its_model() -> None:
    example = Example()
    example.error = ERROR
    check = SelfCheck("line", example, pause=0.01)
    check.failed([], ERROR, isolated=False)
    await example.until_asked()
    check.stop()
    await asyncio.sleep(0.05)

    assert example.asked.empty()


# What is seen from outside.


def raises(_: Any) -> Any:
    raise ERROR


async def until_ready_is(server: Server, status: int) -> Any:
    async with asyncio.timeout(SOON):
        while (answer := await server.ask("GET", "/v2/health/ready")).status != status:
            await asyncio.sleep(0.01)
    return answer


@pytest.mark.logs_warnings
@over_http
async def test_a_model_that_fails_on_everything_is_not_ready_until_it_recovers() -> None:
    model = FakeModel()
    async with serving(model, expected_logs=["no GPU"]) as server:
        model.spoil = raises
        assert_problem(await server.predict([1]), 500, "model-failed")
        answer = await until_ready_is(server, 503)
        assert "fails on its own example" in assert_plain_error(answer, 503)
        assert b"GPU" not in answer.body
        name = server.service.model.name
        assert (await server.ask("GET", f"/v2/models/{name}/ready")).status == 503
        assert (await server.ask("GET", "/v2/health/live")).status == 200
        model.spoil = lambda y: y
        await until_ready_is(server, 200)

        assert (await server.predict([1])).json == {"prediction": 4.0}
        assert (await server.ask("GET", f"/v2/models/{name}/ready")).status == 200


@pytest.mark.logs_warnings
@pytest.mark.parametrize(
    "spoil", [lambda y: np.where(y == 40, np.nan, y), lambda y: y], ids=["NaN", "raises"]
)
@over_http
async def test_a_client_s_bad_rows_leave_the_model_ready(
    spoil: Callable[[np.ndarray], np.ndarray],
) -> None:
    model = FakeModel()
    model.spoil, model.poison = spoil, {14.0}
    async with serving(model, expected_logs=["cannot stand [14.0]"]) as server:
        assert (await server.predict([14])).status == 500
        assert (await server.predict([13])).status in (200, 500)
        async with asyncio.timeout(SOON):
            while [10.0] not in model.batches:  # its example
                await asyncio.sleep(0.01)
        assert (await server.predict([1])).status == 200  # behind the example

        assert (await server.ask("GET", "/v2/health/ready")).status == 200
