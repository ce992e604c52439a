"""What can be checked of the container without a Docker engine.

The tests read the Dockerfile and carry out its instructions in a folder that stands for the root of
the image: they copy the files, run the entry point and call the health check.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from server.config import Settings
from tests.support.container_image import (
    CHECKOUT,
    FINAL,
    SENT,
    STAGES,
    Image,
    build,
    copied_from_the_checkout,
    is_sent,
    matching,
    stand_in,
)

READY_WITHIN_S = 90

# Does what `docker run --read-only --cap-drop ALL --security-opt no-new-privileges` does: all file
# systems are read-only except an empty /dev/shm, and root has no capabilities.
CONFINED = """
set -e
mount --make-rprivate /
while read -r _ _ _ _ point _; do
    mount -o remount,bind,ro "$point"
done < /proc/self/mountinfo
mount -t tmpfs -o size=64m tmpfs /dev/shm
for folder in / /tmp /var/tmp "$PWD"; do
    if touch "$folder/written" 2> /dev/null; then
        echo "$folder can be written" >&2
        exit 9
    fi
done
exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs -- "$@"
"""
CONFINING = ["unshare", "--mount", "sh", "-c", CONFINED, "sh"]


def can_confine() -> bool:
    """Return whether this machine allows a process with its own mount namespace."""
    try:
        return (
            subprocess.run([*CONFINING, "true"], capture_output=True, check=False).returncode == 0
        )
    except FileNotFoundError:
        return False


@contextmanager
def running(
    image: Image, tmp_path: Path, before: Sequence[str] = ()
) -> Iterator[subprocess.Popen[str]]:
    """Run the entry point on a free port, without a home folder; `before` precedes its command."""
    image.environment["SERVER_HTTP__PORT"] = str(free_port())
    image.environment["HOME"] = "/proc/nobody"
    command = [*before, *json.loads(FINAL.last("ENTRYPOINT")), *json.loads(FINAL.last("CMD"))]
    log = tmp_path / "log"
    with log.open("w") as sink:
        server = image.start(command, stdout=sink, stderr=subprocess.STDOUT)
    try:
        yield server
    except BaseException:
        print(log.read_text())
        raise
    finally:
        server.kill()
        server.wait()


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_until_healthy(image: Image, server: subprocess.Popen[str]) -> None:
    check = json.loads(FINAL.last("HEALTHCHECK").partition("CMD ")[2])
    end = time.monotonic() + READY_WITHIN_S
    while time.monotonic() < end:
        asked = image.start(check, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        answer, _ = asked.communicate(timeout=10)
        if asked.returncode == 0:
            return
        assert asked.returncode == 1, answer  # 0 and 1 are the only codes of a health check
        assert server.poll() is None, "the server has exited"
        time.sleep(0.2)
    pytest.fail(f"not healthy within {READY_WITHIN_S} s; its last output: {answer}")


def predict(image: Image, data: object) -> object:
    request = urllib.request.Request(
        f"http://127.0.0.1:{image.environment['SERVER_HTTP__PORT']}/predict",
        data=json.dumps({"data": data}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as response:
        return json.load(response)["prediction"]


def assert_serves(image: Image, tmp_path: Path, before: Sequence[str] = ()) -> None:
    files = sorted(image.at("").rglob("*"))
    with running(image, tmp_path, before) as server:
        wait_until_healthy(image, server)
        prediction = predict(image, [10])
        server.send_signal(signal.Signals[FINAL.last("STOPSIGNAL")])
        code = server.wait(timeout=40)

        assert prediction == pytest.approx(31, abs=0.1)
        assert code == 0
        assert sorted(image.at("").rglob("*")) == files


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")

    found = subprocess.run([hadolint, "Dockerfile"], cwd=CHECKOUT, capture_output=True, text=True)

    assert (found.stdout, found.returncode) == ("", 0)


@pytest.mark.parametrize("source", copied_from_the_checkout())
def test_copied_files_exist_and_are_not_ignored(source: str) -> None:
    assert (CHECKOUT / source).exists()
    assert matching(source)


def test_the_build_context_has_only_copied_files() -> None:
    wanted = {name for source in copied_from_the_checkout() for name in matching(source)}

    assert set(SENT) == wanted


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".venv/pyvenv.cfg",
        "model/my_best_model.keras",
        "model/legacy.h5",
        "server/__pycache__/app.pyc",
        "tests/test_container.py",
    ],
)
def test_generated_and_secret_files_are_not_in_the_build_context(path: str) -> None:
    assert not is_sent(path)


def test_all_stages_have_the_same_base_image() -> None:
    (base,) = {stage.base for stage in STAGES}

    assert re.fullmatch(r"python:3\.1[1-3]\.\d+-slim-[a-z]+", base)


def test_only_locked_packages_are_installed() -> None:
    runs = [rest for stage in STAGES for rest in stage.all("RUN") if "pip install" in rest]

    assert runs
    for rest in runs:
        assert re.search(r"--no-deps --require-hashes -r requirements/(image|slim)\.txt", rest)


def locked(name: str) -> dict[str, set[str]]:
    """Return the versions of the packages in a lock; some have two, for different Pythons."""
    text = (CHECKOUT / "requirements" / f"{name}.txt").read_text()
    found: dict[str, set[str]] = {}
    for package, version in re.findall(r"^([\w-]+)==(\S+)", text, re.MULTILINE):
        found.setdefault(package, set()).add(version)
    return found


def test_the_image_has_the_versions_that_are_tested() -> None:
    """All of them: pip installs them with --no-deps."""
    tested, image = locked("server"), locked("image")
    cpu = image.pop("tensorflow-cpu")

    assert cpu == tested["tensorflow"]
    assert image.keys() | {"libclang"} == tested.keys()
    assert all(tested[package] == versions for package, versions in image.items())


def test_slim_has_the_versions_that_are_tested_and_no_tensorflow() -> None:
    tested, slim = locked("server"), locked("slim")

    assert all(tested[package] == versions for package, versions in slim.items())
    assert not {"tensorflow", "keras", "tf-keras", "tf2onnx"} & slim.keys()


def test_the_service_runs_as_a_numeric_user_other_than_root() -> None:
    assert re.fullmatch(r"[1-9]\d*(:[1-9]\d*)?", FINAL.last("USER"))


def test_copied_files_belong_to_root_and_come_from_the_checkout() -> None:
    """The user of the service can change none of them, and only locked packages are downloaded."""
    for stage in STAGES:
        assert not stage.all("ADD")
        for rest in stage.all("COPY"):
            assert "--chown" not in rest
            assert "--chmod" not in rest
            assert "://" not in rest
    assert not FINAL.all("RUN")


def test_the_image_has_no_secrets() -> None:
    for stage in STAGES:
        assert not stage.all("ARG")
        for rest in stage.all("ENV"):
            assert not re.search(r"(?i)key|secret|token|password", rest)


def test_the_readme_shows_how_to_drop_all_privileges() -> None:
    (command,) = re.findall(r"docker run .*--read-only.*", (CHECKOUT / "README.md").read_text())

    for flag in ("--tmpfs /tmp", "--cap-drop ALL", "--security-opt no-new-privileges"):
        assert flag in command


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    image = Image(tmp_path)
    for rest in FINAL.all("ENV"):
        image.set(rest)
    return image.environment


def test_the_service_listens_on_all_interfaces(environment: dict[str, str]) -> None:
    assert environment["SERVER_HTTP__HOST"] == "0.0.0.0"
    assert "SERVER_HTTP__PORT" not in environment  # it would override a mounted config.yaml
    assert str(Settings().http.port) == FINAL.last("EXPOSE")


def test_temporary_files_go_to_a_writable_folder(
    environment: dict[str, str],
) -> None:
    """With a read-only root, `import tensorflow` fails without a writable folder (measured)."""
    assert environment["TMPDIR"] == "/dev/shm"


@pytest.mark.process
def test_the_health_check_fails_if_nothing_listens(tmp_path: Path) -> None:
    image = build(tmp_path, stand_in)
    image.environment["SERVER_HTTP__PORT"] = str(free_port())
    check = json.loads(FINAL.last("HEALTHCHECK").partition("CMD ")[2])

    asked = image.start(check, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    answer, complaint = asked.communicate(timeout=10)

    assert asked.returncode == 1
    assert "refused" in answer
    assert complaint == ""


@pytest.mark.process
@pytest.mark.skipif(can_confine(), reason="the next test starts the same with fewer rights")
def test_the_entry_point_serves_what_the_dockerfile_copies(tmp_path: Path) -> None:
    """It becomes healthy, answers correctly, and exits with 0 on the stop signal."""
    assert_serves(build(tmp_path, stand_in), tmp_path)


@pytest.mark.torture
@pytest.mark.process
@pytest.mark.skipif(not can_confine(), reason="needs the right to unshare and mount")
def test_it_serves_with_a_read_only_root_and_no_capabilities(tmp_path: Path) -> None:
    assert_serves(build(tmp_path, stand_in), tmp_path, before=CONFINING)
