"""Models and requests as those who come from other servers have them."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from contextlib import closing
from email.message import Message
from pathlib import Path
from typing import NamedTuple

from tests.process.harness import WITHIN, Server

KEY = {"X-API-Key": "a-key-for-tests"}
ROW = b'{"instances": [[1]]}'


class Reply(NamedTuple):
    """An answer."""

    status: int
    body: bytes
    headers: Message


def ask(
    server: Server, path: str, body: bytes | None = None, headers: Mapping[str, str] = KEY
) -> Reply:
    """Send a request over a new connection: a POST if it has a body, else a GET."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WITHIN)
    with closing(connection):
        connection.request("GET" if body is None else "POST", path, body, dict(headers))
        response = connection.getresponse()
        return Reply(response.status, response.read(), response.msg)


def served(server: Server) -> dict[str, str]:
    """Return the versions that answer, by the names of the models."""
    found = {}
    for name in server.get("/v1/models").json["models"]:
        reply = ask(server, f"/v1/models/{name}:predict", ROW)
        assert (reply.status, reply.body) == (200, b'{"predictions":[[4.0]]}')
        found[name] = reply.headers["X-Model-Version"]
    return found


def lay_out(folder: Path) -> None:
    """Make folders with versions, a repository of Triton, and what KServe mounts."""
    (folder / "prices" / "2").mkdir(parents=True)
    for file in ("prices/1.keras", "prices/2/model.keras"):
        (folder / file).write_text("")
    for name in ("a", "b"):
        for version in ("1", "2"):
            saved = folder / "repository" / name / version / "model.savedmodel"
            saved.mkdir(parents=True)
            (saved / "saved_model.pb").write_bytes(b"")
        policy = "version_policy: { specific: { versions: [1] } }"
        (folder / "repository" / name / "config.pbtxt").write_text(policy)
    (folder / "mnt" / "models").mkdir(parents=True)
    (folder / "mnt" / "models" / "model.keras").write_text("")


def write_config(models: Path, *configs: str) -> str:
    """Write a `models.config` with these models, and return the flag for it."""
    lists = " ".join(f"config {{ {each} }}" for each in configs)
    text = f"model_config_list {{ {lists} }}".replace("BASE", str(models))
    (models / "models.config").write_text(text)
    return f"--model_config_file={models}/models.config"
