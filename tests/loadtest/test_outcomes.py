"""Lost, wrong and unexpected answers, and closed connections, with a scripted server."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from model.tensors import Tensors
from server.loadtest import load_generator
from tests.loadtest.line_model import FakeModel, fake_model
from tests.loadtest.scripted_server import http, in_place_of_number, triple


@pytest.mark.parametrize("odd", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalfCLOSE"])
def test_a_request_whose_connection_closes_is_lost(server, load, odd, capsys):
    """The connection closes before or within the answer; the other requests continue."""
    server.answer = in_place_of_number(50, odd)
    code, numbers = load("--requests", "100", "--connections", "4")

    assert code == 1
    assert numbers["lost_by_reason"] == {"connection closed": 1}
    assert numbers["answered"] == 99
    assert "LOST 1: connection closed" in capsys.readouterr().out


def test_an_answer_that_is_not_http_is_lost(server, load):
    server.answer = in_place_of_number(5, b"SSH-2.0-OpenSSH\r\n")
    code, numbers = load("--requests", "10")

    assert code == 1
    assert numbers["lost_by_reason"] == {"answer is not HTTP": 1}


def test_a_request_without_an_answer_in_time_is_lost(server, load):

    async def never_the_third(number, data):
        await asyncio.sleep(60 if number == 3 else 0)
        return triple(data)

    server.answer = never_the_third
    code, numbers = load("--requests", "10", "--connections", "2", "--timeout", "0.3")

    assert code == 1
    assert numbers["lost_by_reason"] == {"no answer in time": 1}
    assert numbers["answered"] == 9


def test_requests_queued_longer_than_the_timeout_are_dropped(server, load):
    """They count as lost or unsent, and the load test ends."""

    async def never(number, data):
        await asyncio.sleep(60)

    server.answer = never
    flags = ["--rate", "100", "--arrivals", "constant", "--requests", "10"]
    code, numbers = load(*flags, "--connections", "2", "--timeout", "0.3")

    assert code == 1
    assert numbers["lost"] + numbers["unsent"] == 10
    assert numbers["unsent"] > 0


def test_an_unexpected_status_fails_the_load_test(server, load, capsys):
    """Its first body is printed."""
    server.answer = in_place_of_number(5, http(b"too busy", "503 Service Unavailable"))
    code, numbers = load("--requests", "10")

    assert code == 1
    assert numbers["unexpected"] == {"503": 1}
    assert "STATUS 503: 1 times, first body: too busy" in capsys.readouterr().out


def test_a_status_can_be_expected(server, load):
    """A test of an overload expects rejections."""
    server.answer = in_place_of_number(5, http(b"too busy", "503 Service Unavailable"))
    code, numbers = load("--requests", "10", "--expect", "200,503")

    assert code == 0
    assert numbers["statuses"] == {"200": 9, "503": 1}


def test_right_answers_pass_the_comparison_with_the_model(server, load):
    """A thousand different rows."""
    code, numbers = load("--requests", "1000", "--model", "a.keras", load_model=fake_model)

    assert code == 0
    assert numbers["wrong"] == 0


def test_a_wrong_answer_fails_the_load_test(server, load, capsys):
    """The expected and the received answer are printed."""
    server.answer = in_place_of_number(500, triple([123]))
    code, numbers = load("--requests", "1000", "--model", "a.keras", load_model=fake_model)

    assert code == 1
    assert numbers["wrong"] == 1
    assert 'got {"prediction":370}' in capsys.readouterr().out


def test_connection_close_loses_no_request(server, load):
    """The next request is sent over a new connection."""

    async def last_words(number, data):
        return triple(data).replace(b"\r\n", b"\r\nConnection: close\r\n", 1) + b"CLOSE"

    server.answer = last_words
    code, numbers = load("--requests", "50", "--connections", "4")

    assert code == 0
    assert numbers["connections_opened"] == 50


def test_a_closed_idle_connection_loses_no_request(server, load):
    """With 125 ms between requests, the client notices the closed connection before the next."""

    async def gone_without_a_word(number, data):
        return triple(data) + b"CLOSE"

    server.answer = gone_without_a_word
    code, numbers = load("--rate", "8", "--arrivals", "constant", "--requests", "4")

    assert code == 0
    assert numbers["answered"] == numbers["connections_opened"] == 4


def test_a_server_that_stops_ends_the_load_test(server, load, monkeypatch, capsys):
    """Its answers are reported, and requests that could not be sent count as unsent, not lost."""

    async def leave(number, data):
        if number < 2:
            return triple(data)
        server.stop_listening()
        return triple(data) + b"CLOSE"

    server.answer = leave
    monkeypatch.setattr(load_generator, "GONE_AFTER", 0.5)
    # There is half a second to notice the closed connection before the next request.
    flags = ["--rate", "2", "--arrivals", "constant", "--duration", "60", "--connections", "1"]
    code, numbers = load(*flags)

    assert code == 1
    assert numbers["gone"]
    assert numbers["answered"] == 3
    assert numbers["lost"] == 0
    assert numbers["unsent"] > 0
    assert "GONE: the server no longer accepts connections" in capsys.readouterr().out


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        b'7\r\n{"predi\r\n9\r\nction":4}\r\n0\r\n\r\n',
        b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{"prediction":4}CLOSE',
    ],
    ids=["chunked", "until the connection closes"],
)
def test_bodies_without_a_content_length_are_read(server, load, answer):

    async def same(number, data):
        return answer

    class Constant(FakeModel):
        def predict(self, parts):
            return [Tensors({"y": np.full((1, 1), 4.0)}) for _ in parts]

    server.answer = same
    code, _ = load("--requests", "20", "--model", "a.keras", load_model=lambda path: Constant())

    assert code == 0


def test_an_error_of_the_comparison_model_ends_the_load_test(server, load):
    """Its results would be useless."""

    class Broken(FakeModel):
        def predict(self, parts):
            raise RuntimeError("no answers from me")

    with pytest.raises(RuntimeError, match="no answers from me"):
        load("--requests", "20", "--model", "a.keras", load_model=lambda path: Broken())
