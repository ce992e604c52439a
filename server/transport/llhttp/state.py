"""The states of a connection."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final


class State(Enum):
    """What a connection is doing, until when, and what it does next.

    | State           | Meaning                                          | Deadline           |
    | --------------- | ------------------------------------------------ | ------------------ |
    | IDLE            | nothing of the next request has arrived          | `idle_timeout_s`   |
    | READING_HEAD    | a part of a head has arrived                     | `header_timeout_s` |
    | READING_BODY    | a head has arrived, its body has not completely  | `body_timeout_s`*  |
    | DISCARDING_BODY | it is rejected, the rest of the body is dropped  | `body_timeout_s`*  |
    | ANSWERING       | a request is in progress; bytes that arrive wait | none               |
    | CLOSING         | unsent bytes are sent, what arrives is dropped   | `LINGER_SECONDS`   |

    *: and again as long, whenever enough of the body has arrived in it (`ArrivingBody.goes_on`).

    | From            | To                                                                    |
    | --------------- | --------------------------------------------------------------------- |
    | IDLE            | READING_HEAD, READING_BODY, DISCARDING_BODY, ANSWERING: what arrives  |
    | READING_HEAD    | READING_BODY, DISCARDING_BODY, ANSWERING: the head is complete        |
    | READING_BODY    | ANSWERING: the body is complete; DISCARDING_BODY: it is rejected      |
    | DISCARDING_BODY | IDLE: the body has ended                                              |
    | ANSWERING       | IDLE: the answer is written                                           |
    | all of them     | CLOSING: an error, a time limit, a disconnect, the last answer |
    """

    IDLE = auto()
    READING_HEAD = auto()
    READING_BODY = auto()
    DISCARDING_BODY = auto()
    ANSWERING = auto()
    CLOSING = auto()


# Each look-up of a member in its class takes 60 ns in Python 3.11, and a request needs six.
IDLE: Final = State.IDLE
READING_HEAD: Final = State.READING_HEAD
READING_BODY: Final = State.READING_BODY
DISCARDING_BODY: Final = State.DISCARDING_BODY
ANSWERING: Final = State.ANSWERING
CLOSING: Final = State.CLOSING
