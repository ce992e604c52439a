"""Runs the container image as an orchestrator does: without privileges, on a read-only root.

With docker and podman by `run`. buildah has no such command: there the image's root is mounted and
entered with `unshare` and `chroot`, which needs root, and shares the network of this machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from tests.process.harness import children, wait_until

MODELS = "/mnt/models"

# Starts "$@", an environment and a command, as the first process of the root $1, in its folder $4,
# as user $3. The folder $2 is at /mnt/models. Only /dev/shm can be written.
ENTER = """
set -e
root=$1 models=$2 user=$3 folder=$4
shift 4
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for name in null zero random urandom; do
    touch "$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
done
mkdir "$root/dev/shm"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount --bind "$models" "$root/mnt/models"
mount -o remount,bind,ro "$root/mnt/models"
mount -o remount,bind,ro "$root"
exec setpriv --no-new-privs -- chroot --userspec="$user" "$root" env -i -C "$folder" "$@"
"""
UNPRIVILEGED = ["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]


class Container(Protocol):
    """A running image."""

    port: int

    def run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a further command in it."""
        ...

    def stop(self) -> int:
        """Send the image's stop signal to its first process, and return the exit code."""
        ...

    def log(self) -> str:
        """Return what it has written so far."""
        ...


def said(command: Sequence[str]) -> str:
    """Return what a command prints; raises AssertionError if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout.strip()


def config_of(engine: str, image: str) -> Any:
    """Return the settings of an image (`Entrypoint`, `Cmd`, `Env` and so on); None without it."""
    words = ["--type", "image"] if engine == "buildah" else ["--type=image"]
    found = subprocess.run(
        [engine, "inspect", *words, image], capture_output=True, text=True, check=False
    )
    if found.returncode != 0:
        return None
    document = json.loads(found.stdout)
    if engine == "buildah":
        return document["Docker"]["config"]
    return document[0].get("Config") or document[0]["config"]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class ByRun:
    """A container of docker or podman."""

    def __init__(
        self,
        engine: str,
        image: str,
        models: Path,
        *,
        user: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
    ) -> None:
        self.port = free_port()
        self._engine = engine
        settings = [f"--env={name}={value}" for name, value in environment.items()]
        self._name = said(
            [
                *(engine, "run", "--detach", *UNPRIVILEGED, "--user", user),
                *("--publish", f"127.0.0.1:{self.port}:8888", "--volume", f"{models}:{MODELS}:ro"),
                *(*settings, image, *arguments),
            ]
        )

    def run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._engine, "exec", self._name, *command],
            capture_output=True,
            text=True,
            check=False,
        )

    def stop(self) -> int:
        said([self._engine, "stop", "--time", "40", self._name])
        return int(said([self._engine, "wait", self._name]))

    def log(self) -> str:
        command = [self._engine, "logs", self._name]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    def remove(self) -> None:
        subprocess.run([self._engine, "rm", "--force", self._name], capture_output=True, check=True)


class ByChroot:
    """The root of an image of buildah, entered without a container runtime."""

    def __init__(
        self,
        image: str,
        models: Path,
        *,
        user: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
    ) -> None:
        self.port = free_port()
        self._config = config_of("buildah", image)
        self._name = said(["buildah", "from", "--pull=never", image])
        self._root = said(["buildah", "mount", self._name])
        Path(self._root, *MODELS.split("/")).mkdir(parents=True, exist_ok=True)
        given = {"SERVER_HTTP__PORT": str(self.port), **environment}
        self._environment = [*self._config["Env"], *(f"{k}={v}" for k, v in given.items())]
        self._user = user
        self._log = models.parent / f"{models.name}.log"
        command = [*self._config["Entrypoint"], *(arguments or self._config["Cmd"])]
        with self._log.open("w") as sink:
            self._process = subprocess.Popen(
                [
                    *("unshare", "--mount", "--pid", "--fork", "--kill-child=KILL"),
                    *("sh", "-c", ENTER, "sh", self._root, str(models), user),
                    *(self._config["WorkingDir"], *self._environment, *command),
                ],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
            )
        wait_until(lambda: self._first_process() or self._process.poll() is not None)

    def run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run it in the namespaces of the first process."""
        return subprocess.run(
            [
                *("nsenter", f"--target={self._first_process()}", "--mount", "--pid"),
                *("chroot", f"--userspec={self._user}", self._root, "env", "-i"),
                *("-C", self._config["WorkingDir"], *self._environment, *command),
            ],
            capture_output=True,
            text=True,
            check=False,
        )

    def stop(self) -> int:
        if pid := self._first_process():
            os.kill(pid, signal.Signals[self._config["StopSignal"]])
        return self._process.wait(40)

    def log(self) -> str:
        return self._log.read_text()

    def remove(self) -> None:
        if pid := self._first_process():  # a change of user has cancelled `--kill-child`
            os.kill(pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        said(["buildah", "rm", self._name])

    def _first_process(self) -> int:
        """Return the process that `unshare` has started, 0 if there is none."""
        found = children(self._process.pid)
        return found[0] if found else 0


@contextmanager
def container(
    engine: str,
    image: str,
    models: Path,
    *arguments: str,
    user: str = "12345:12345",
    environment: Mapping[str, str] | None = None,
) -> Iterator[Container]:
    """Run an image with a folder at /mnt/models; removed at the end of the block."""
    options: Any = {"user": user, "arguments": arguments, "environment": environment or {}}
    if engine == "buildah":
        running: ByRun | ByChroot = ByChroot(image, models, **options)
    else:
        running = ByRun(engine, image, models, **options)
    try:
        yield running
    except BaseException:
        with contextlib.suppress(Exception):
            print(running.log())
        raise
    finally:
        running.remove()
