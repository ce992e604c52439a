"""Which program builds the image: the first of docker, podman and buildah that works here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from scripts import image

Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """A function that puts a program on an otherwise empty PATH; `says` is why it does not work."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def install(name: str, says: str = "") -> None:
        program = tmp_path / name
        body = f"echo something >&2\necho '{says}' >&2\nexit 1" if says else 'echo "$0" "$@"'
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)

    return install


def test_the_first_that_is_installed_builds(install: Install) -> None:
    install("buildah")
    install("podman")

    assert image.working_engine() == "podman"


def test_a_client_of_docker_without_its_daemon_is_passed_over(install: Install) -> None:
    install("docker", says="Cannot connect to the Docker daemon")
    install("buildah")

    assert image.working_engine() == "buildah"


def test_one_line_says_why_nothing_can_be_built(
    install: Install, capfd: pytest.CaptureFixture[str]
) -> None:
    install("docker", says="Cannot connect to the Docker daemon")

    code = image.main([])

    why = "no image can be built: docker does not work: Cannot connect to the Docker daemon\n"
    assert (code, capfd.readouterr().err) == (2, why)


@pytest.mark.usefixtures("install")
def test_one_line_says_what_to_install(capfd: pytest.CaptureFixture[str]) -> None:
    code = image.main([])

    [line] = capfd.readouterr().err.splitlines()
    assert code == 2
    assert "is not installed: apt-get install buildah" in line


def test_options_go_to_the_program_that_builds(
    install: Install, capfd: pytest.CaptureFixture[str]
) -> None:
    install("buildah")

    code = image.main(["--target", "slim", "--network", "host"])

    words = capfd.readouterr().out.splitlines()[-1].split()[1:]
    assert code == 0
    assert words == [
        *("build", "--format", "docker", "--layers"),
        *("--target", "slim", "--tag", "keras-batch-server:slim"),
        *("--network", "host", str(image.CHECKOUT)),
    ]


def test_docker_needs_no_format_for_the_health_check() -> None:
    command = image.build_command("docker", "default", "a-tag")

    assert command == ["docker", "build", "--tag", "a-tag", str(image.CHECKOUT)]
