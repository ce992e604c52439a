"""The virtual environments of the other servers, under `.peers/`.

Each has its own TensorFlow, in the same version as this project's, because the servers need other
versions of numpy and protobuf, and Triton needs all packages in one folder. uv links the files from
its cache, so the environments take little time and space.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / ".peers"
INSTALL_WITHIN = 900.0  # seconds

# The exact versions of the servers; other packages are the newest that they allow.
FASTAPI = ("fastapi==0.165.0", "uvicorn[standard]==0.54.0", "orjson==3.13.0")
REQUIREMENTS = {
    "bentoml": ("bentoml==1.4.39",),
    "fastapi": FASTAPI,
    "fastapi-engines": (*FASTAPI, "onnxruntime==1.32.0", "openvino==2026.4.1"),
    "litserve": ("litserve==0.2.19", "python-multipart==0.0.34"),
    "ray": ("ray[serve]==2.60.0", "orjson==3.13.0"),
    "triton": ("nvidia-pytriton==0.7.0",),
}


class Missing(Exception):
    """A contestant cannot be measured; the message is one line."""


def python_of(venv: str) -> str:
    """Return the Python of this venv, after creating or updating it; raises Missing.

    The empty name stands for the environment of the current process.
    """
    if not venv:
        return sys.executable
    folder, requirements = PEERS / venv, _requirements(venv)
    python, stamp = folder / "bin" / "python", folder / "requirements.stamp"
    if not stamp.exists() or stamp.read_text() != "\n".join(requirements):
        shutil.rmtree(folder, ignore_errors=True)
        _run(sys.executable, "-m", "venv", "--without-pip", str(folder))
        _run(sys.executable, "-m", "uv", "pip", "install", "--python", str(python), *requirements)
        stamp.write_text("\n".join(requirements))
    return str(python)


def _requirements(venv: str) -> list[str]:
    same = [f"{package}=={version(package)}" for package in ("tensorflow", "keras")]
    return [*REQUIREMENTS[venv], *same]


def _run(*command: str) -> None:
    try:
        done = subprocess.run(  # noqa: S603  # fixed commands and the versions above
            command, capture_output=True, text=True, timeout=INSTALL_WITHIN, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Missing(f"not installed within {INSTALL_WITHIN:g} s") from error
    if done.returncode:
        raise Missing(f"cannot be installed: {' '.join(done.stderr.split())[-400:]}")
