"""No step waits for what is left of the one before: a made-up load leaves nothing."""

import pytest

from server.loadgen import sweep


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(sweep, "PAUSE_SECONDS", 0)
