"""Schemathesis generates requests from the published document, and checks the answers against it.

`schemathesis_hooks.py` has the exceptions, each with its reason.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.conftest import Start
from tests.process.harness import Server, environment

pytestmark = pytest.mark.process

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
KEY = "opens-everything"
CLOSED = f"sha256:{hashlib.sha256(KEY.encode()).hexdigest()}"
NULLS = ("--predict.non_finite", "as_null")  # 3x + 1 may exceed float32
# Requests that change the repository have their own test: they would unload the others' model.
CHANGES = "^/v2/repository/models/"


def cases_of(server: Server, *options: str) -> int:
    """Run schemathesis; return the number of requests, or fail with its findings."""
    asked = subprocess.run(
        [
            *(SCHEMATHESIS, "--no-color", "run", f"http://127.0.0.1:{server.port}/openapi.json"),
            *("--checks", "all", "--continue-on-failure", "--warnings", "off"),
            *("--exclude-path", "/events"),  # it never ends; tests/monitoring/test_live.py reads it
            *("--suppress-health-check", "all", "--generation-database", "none"),
            *("--request-timeout", "60"),  # by default 10 s, which a busy machine may take
            *options,
        ],
        cwd=server.folder,
        env=environment() | {"SCHEMATHESIS_HOOKS": "tests.process.schemathesis_hooks"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.returncode == 0, asked.stdout[-8000:] + asked.stderr[-2000:]
    assert "Traceback" not in server.stderr
    assert server.is_running()
    counted = re.search(r"(\d+) generated", asked.stdout)
    assert counted, asked.stdout[-2000:]
    print(counted[0])
    return int(counted[1])


@pytest.mark.torture
@pytest.mark.timeout(300)
def test_answers_match_the_document_at_its_limits(start: Start) -> None:
    phases = ("--phases", "examples,coverage")
    assert cases_of(start(*NULLS), *phases, "--exclude-path-regex", CHANGES) > 500


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    "transport",
    [
        pytest.param("llhttp", marks=pytest.mark.torture),
        pytest.param("tornado", marks=pytest.mark.torture_full),
    ],
)
def test_answers_match_the_document_in_thousands_of_cases(start: Start, transport: str) -> None:
    server = start(*NULLS, "--http.transport", transport)
    assert cases_of(server, "--max-examples", "100", "--exclude-path-regex", CHANGES) > 2500


@pytest.mark.torture
@pytest.mark.timeout(300)
def test_answers_match_the_document_for_repository_changes(start: Start) -> None:
    server = start("--auth.api_keys", CLOSED)
    key = ("--header", f"Authorization: Bearer {KEY}")
    assert cases_of(server, *key, "--include-path-regex", "^/v2/(repository|models)") > 500
