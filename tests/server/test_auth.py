"""Who may ask, and who may change what is served."""

from __future__ import annotations

import hashlib

import pytest

from server.auth import ApiKeys
from server.errors import Forbidden, Unauthorized

HASHED = "sha256:" + hashlib.sha256(b"two").hexdigest()


def test_without_keys_everybody_may_ask_and_nobody_change() -> None:
    keys = ApiKeys([])

    keys.check({})
    with pytest.raises(Forbidden):
        keys.check_change({"x-api-key": ""})


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": "one"},
        {"authorization": "Bearer one"},
        {"authorization": "bearer  one "},
        {"x-api-key": "two"},
        {"authorization": "Bearer two", "x-api-key": "wrong"},
    ],
)
def test_one_of_the_keys_opens_everything(headers: dict[str, str]) -> None:
    keys = ApiKeys(["one", HASHED])

    keys.check(headers)
    keys.check_change(headers)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-api-key": ""},
        {"x-api-key": "One"},
        {"x-api-key": HASHED},
        {"x-api-key": "one,two"},
        {"authorization": "one"},
        {"authorization": "Basic one"},
        {"authorization": "Bearer"},
        {"authorization": "Bearer wrong", "x-api-key": "one"},
        {"x-api-key": "\udcff"},
    ],
)
def test_anything_else_is_refused(headers: dict[str, str]) -> None:
    keys = ApiKeys(["one", HASHED])

    for check in (keys.check, keys.check_change):
        with pytest.raises(Unauthorized):
            check(headers)
