"""Commands for a shell that call the service."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from urllib.parse import quote

from server.dialects.native import npy
from server.dialects.native.json_codec import MEDIA_TYPE
from server.dialects.native.python_line import PythonLine

KEY_HEADER = " -H 'Authorization: Bearer …'"


def curl(body: bytes, origin: str, *, needs_key: bool) -> str:
    """Return the command that sends a request in JSON; `origin` is text for a shell."""
    headers = f"-H 'Content-Type: {MEDIA_TYPE}'{KEY_HEADER if needs_key else ''}"
    return f"curl -d {shlex.quote(body.decode())} {headers} {origin}/predict"


def curl_picture(origin: str, *, needs_key: bool) -> str:
    """Return the command that sends a picture file to a model with one input."""
    key = KEY_HEADER if needs_key else ""
    return f"curl --data-binary @picture.jpg -H 'Content-Type: image/jpeg'{key} {origin}/predict"


def curl_form(parts: Mapping[str, str], origin: str, *, needs_key: bool) -> str:
    """Return the command that sends a form: the value of each input, `@` before a file's name."""
    given = " ".join(f"-F {shlex.quote(f'{name}={value}')}" for name, value in parts.items())
    return f"curl {given}{KEY_HEADER if needs_key else ''} {origin}/predict"


def piped(line: PythonLine, origin: str, name: str, *, needs_key: bool = False) -> str:
    """Return the command that makes a request with a line of Python, and sends it.

    It keeps the answer in a file, as it may be long. `name` is that of the model.
    """
    file = "answer.npy" if line.media_type == npy.MEDIA_TYPE else "answer.json"
    key = KEY_HEADER if needs_key else ""
    python = f"python3 -c {shlex.quote(line.code)}"
    send = f"curl --data-binary @- -H 'Content-Type: {line.media_type}'{key} -o {file}"
    ask = f"curl -s {origin}/v2/models/{quote(name, safe='')} | " if line.reads_metadata else ""
    return f"{ask}{python} | {send} {origin}/predict"
