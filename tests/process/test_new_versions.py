"""New versions are loaded by themselves, in a real process whose user may not read everything."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.process.conftest import Start
from tests.process.harness import FAKE, wait_until

pytestmark = pytest.mark.process

# Without these capabilities, root may read no more than others do.
AS_OTHERS = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")


def command_without_privileges() -> tuple[str, ...]:
    if os.getuid() != 0:
        return FAKE
    if subprocess.run([*AS_OTHERS, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("root may not give up capabilities here")
    return (*AS_OTHERS, *FAKE)


def test_a_file_that_becomes_readable_is_loaded(start: Start, tmp_path: Path) -> None:
    """Changing who may read a file changes neither its content nor its time."""
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "1.keras").write_text("")
    environ = {"SERVER_MODEL__POLL_S": "0.01"}
    server = start(str(folder), command=command_without_privileges(), environ=environ)
    (folder / "2.keras").touch(mode=0)
    server.until_logged("cannot take its place")

    [model] = server.get("/v2/health/ready").json["models"]
    assert "2.keras: cannot be read: Permission denied" in model["failure"]
    assert server.post([1]).headers["X-Model-Version"] == "1"
    (folder / "2.keras").chmod(0o600)
    wait_until(lambda: server.post([1]).headers["X-Model-Version"] == "2", what="version 2")
    assert server.stderr.count("cannot take its place") == 1
