"""EndpointRun runs a coroutine as a task would, and starts it at once."""

from __future__ import annotations

import asyncio

import pytest

from server.http.message import Response
from server.transport.llhttp.endpoint_run import EndpointRun

pytestmark = pytest.mark.gen_test

ANSWER = Response(200, {}, b"answer")


async def settle() -> None:
    """Let callbacks run, and those that they call."""
    for _ in range(3):
        await asyncio.sleep(0)


async def test_an_endpoint_that_awaits_nothing_answers_at_once():
    answers: list[Response] = []

    async def endpoint() -> Response:
        return ANSWER

    EndpointRun(endpoint(), answers.append).start()
    assert answers == [ANSWER]


async def test_an_endpoint_goes_on_when_its_future_is_done():
    answers: list[Response] = []
    futures = [asyncio.get_running_loop().create_future() for _ in range(2)]

    async def endpoint() -> Response:
        return Response(200, {}, await futures[0] + await futures[1])

    EndpointRun(endpoint(), answers.append).start()
    futures[0].set_result(b"one, ")
    await settle()
    assert answers == []
    futures[1].set_result(b"two")
    await settle()
    assert answers == [Response(200, {}, b"one, two")]


async def test_the_exception_of_a_future_is_raised_in_the_endpoint():
    answers: list[Response] = []
    future = asyncio.get_running_loop().create_future()

    async def endpoint() -> Response:
        try:
            return await future
        except KeyError:
            return ANSWER

    EndpointRun(endpoint(), answers.append).start()
    future.set_exception(KeyError())
    await settle()
    assert answers == [ANSWER]


@pytest.mark.parametrize("is_done", [False, True])
async def test_a_cancelled_endpoint_gets_cancelled_error_and_answers_nothing(is_done: bool):
    """Also when its future is done already, and the endpoint has not resumed yet."""
    answers: list[Response] = []
    caught: list[str] = []
    future = asyncio.get_running_loop().create_future()

    async def endpoint() -> Response:
        try:
            await future
        except asyncio.CancelledError:
            caught.append("cancelled")
            raise
        return ANSWER

    run = EndpointRun(endpoint(), answers.append)
    run.start()
    if is_done:
        future.set_result(None)
    run.cancel()
    await settle()
    assert caught == ["cancelled"]
    assert answers == []
    assert future.cancelled() is not is_done
