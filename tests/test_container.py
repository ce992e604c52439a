"""What can be checked of the container without a Docker engine.

The Dockerfile is read, and what it says is done in a folder that stands for the root of the
image: its files are copied, its entry point is run, its health check is asked.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pytest

CHECKOUT = Path(__file__).parents[1]
EXAMPLE = CHECKOUT / "model" / "my_best_model.keras"
READY_WITHIN_S = 90


# Reading the Dockerfile and .dockerignore.


@dataclass
class Stage:
    """One stage, its instructions in their order."""

    base: str
    name: str
    instructions: list[tuple[str, str]] = field(default_factory=list)

    def all(self, word: str) -> list[str]:
        return [rest for name, rest in self.instructions if name == word]

    def last(self, word: str) -> str:
        return self.all(word)[-1]


def read_dockerfile() -> list[Stage]:
    text = (CHECKOUT / "Dockerfile").read_text()
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    stages: list[Stage] = []
    for line in filter(None, map(str.strip, text.splitlines())):
        word, rest = line.split(maxsplit=1)
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            stages.append(Stage(base, name or "final"))
        else:
            stages[-1].instructions.append((word, rest.strip()))
    return stages


def copied_from_the_checkout() -> list[str]:
    copies = [shlex.split(rest) for stage in STAGES for rest in stage.all("COPY")]
    return [source for words in copies if not words[0].startswith("--") for source in words[:-1]]


def is_sent(path: str) -> bool:
    """Tell whether .dockerignore lets a file through; the last pattern that matches decides."""
    file = PurePosixPath(path)
    sent = True
    for line in (CHECKOUT / ".dockerignore").read_text().splitlines():
        pattern = line.strip().removeprefix("!").strip("/")
        if not pattern or pattern.startswith("#"):
            continue
        if any(glob(pattern).fullmatch(str(part)) for part in (file, *file.parents)):
            sent = line.startswith("!")
    return sent


def glob(pattern: str) -> re.Pattern[str]:
    meaning = {"**/": "(.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    return re.compile("".join(meaning.get(part) or re.escape(part) for part in parts))


def files_of_the_checkout() -> Iterator[str]:
    for folder, names, files in os.walk(CHECKOUT):
        names[:] = [name for name in names if name not in {".git", ".venv", ".peers"}]
        for name in files:
            yield (Path(folder, name).relative_to(CHECKOUT)).as_posix()


STAGES = read_dockerfile()
FINAL = STAGES[-1]
SENT = sorted(filter(is_sent, files_of_the_checkout()))


# Doing what it says.


class Image:
    """A folder that stands for the root of an image."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = PurePosixPath("/")
        self.environment = {"PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"}

    def at(self, path: str | PurePosixPath) -> Path:
        return self.root / (self.folder / path).relative_to("/")

    def moved(self, text: str) -> str:
        """Return `text` with the image's own absolute paths put under this folder."""
        return re.sub(r"(?<![\w./-])/(app|venv)\b", rf"{self.root}/\1", text)

    def copy(self, rest: str, images: dict[str, Image]) -> None:
        *sources, target = shlex.split(rest)
        if sources[0].startswith("--from="):
            origin = images[sources.pop(0).removeprefix("--from=")]
            self.link(*(origin.at(source) for source in sources), target=target)
            return
        for source in sources:
            for name in matching(source):
                inner = PurePosixPath(name).relative_to(source) if name != source else None
                into = target.endswith("/") or len(sources) > 1
                end = inner or (PurePosixPath(name).name if into else "")
                place = self.at(PurePosixPath(target) / end)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(CHECKOUT / name, place)

    def link(self, source: Path, target: str) -> None:
        """Stand in for a copy out of another stage, of up to 2 GB."""
        assert source.exists(), f"{source} is not there to be copied"
        place = self.at(target)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(source)

    def set(self, rest: str) -> None:
        for word in shlex.split(rest):
            name, _, value = word.partition("=")
            value = value.replace("$PATH", self.environment["PATH"])
            self.environment[name] = self.moved(value)

    def start(self, command: list[str], **options: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [self.moved(word) for word in command],
            cwd=self.at(""),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            text=True,
            **options,
        )


def matching(source: str) -> list[str]:
    return [name for name in SENT if name == source or PurePosixPath(source) in parents(name)]


def parents(name: str) -> tuple[PurePosixPath, ...]:
    return tuple(PurePosixPath(name).parents)


def build(root: Path, run: Callable[[Image, str], None]) -> Image:
    """Go through the Dockerfile and return its last image; `run` does what RUN says."""
    images: dict[str, Image] = {}
    for stage in STAGES:
        image = images[stage.name] = Image(root / stage.name)
        for word, rest in stage.instructions:
            match word:
                case "WORKDIR":
                    image.folder = PurePosixPath(rest)
                    image.at("").mkdir(parents=True, exist_ok=True)
                case "COPY":
                    image.copy(rest, images)
                case "ENV":
                    image.set(rest)
                case "RUN":
                    run(image, rest)
    return image


def run_for_real(image: Image, command: str) -> None:
    kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "HOME"))}
    subprocess.run(
        ["sh", "-euc", image.moved(command)],
        cwd=image.at(""),
        env=kept | image.environment,
        stdin=subprocess.DEVNULL,
        check=True,
    )


def stand_in(image: Image, command: str) -> None:
    """Take the current environment and the model in the checkout for what the builder makes."""
    if "-m venv" in command:
        image.link(Path(sys.prefix), re.search(r"-m venv (\S+)", command)[1])
    elif "-m model.train" in command:
        assert EXAMPLE.exists(), "`make setup` trains the example model"
        shutil.copyfile(EXAMPLE, image.at(re.search(r"--out (\S+)", command)[1]))
    else:
        pytest.fail(f"teach this test what stands in for: RUN {command}")


# What `docker run --read-only --cap-drop ALL --security-opt no-new-privileges` does: every file
# system is read-only but an empty /dev/shm, and not even root may do what only root may.
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
    """Tell whether this machine lets us make a process of its own view of the file systems."""
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
    """Run the entry point as a user without a home, on a free port; `before` is what starts it."""
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
        assert asked.returncode == 1, answer  # Docker knows 0 and 1
        assert server.poll() is None, "the server has ended"
        time.sleep(0.2)  # Docker asks again after a while, too
    pytest.fail(f"not healthy within {READY_WITHIN_S} s; its last words: {answer}")


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


# The tests.


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")

    found = subprocess.run([hadolint, "Dockerfile"], cwd=CHECKOUT, capture_output=True, text=True)

    assert (found.stdout, found.returncode) == ("", 0)


@pytest.mark.parametrize("source", copied_from_the_checkout())
def test_what_is_copied_is_there_and_not_ignored(source: str) -> None:
    assert (CHECKOUT / source).exists()
    assert matching(source)


def test_nothing_is_sent_that_is_not_copied() -> None:
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
def test_what_is_made_here_or_secret_is_not_sent(path: str) -> None:
    assert not is_sent(path)


def test_all_stages_start_from_the_same_patch_level() -> None:
    (base,) = {stage.base for stage in STAGES}

    assert re.fullmatch(r"python:3\.1[1-3]\.\d+-slim-[a-z]+", base)


def test_only_locked_packages_are_installed() -> None:
    runs = [rest for stage in STAGES for rest in stage.all("RUN") if "pip install" in rest]

    assert runs
    assert all("--require-hashes -r requirements/server.txt" in rest for rest in runs)


def test_the_service_runs_as_a_numbered_user_that_is_not_root() -> None:
    assert re.fullmatch(r"[1-9]\d*(:[1-9]\d*)?", FINAL.last("USER"))


def test_what_is_copied_belongs_to_root_and_comes_from_here() -> None:
    """The service's user can change none of it, and nothing is fetched but locked packages."""
    for stage in STAGES:
        assert not stage.all("ADD")
        for rest in stage.all("COPY"):
            assert "--chown" not in rest
            assert "--chmod" not in rest
            assert "://" not in rest
    words = [word for word, _ in FINAL.instructions]
    assert words.index("USER") > max(n for n, word in enumerate(words) if word == "COPY")
    assert "RUN" not in words


def test_no_secret_is_built_in() -> None:
    for stage in STAGES:
        assert not stage.all("ARG")
        for rest in stage.all("ENV"):
            assert not re.search(r"(?i)key|secret|token|password", rest)


def test_the_readme_says_how_to_take_all_rights_away() -> None:
    (command,) = re.findall(r"docker run .*--read-only.*", (CHECKOUT / "README.md").read_text())

    for flag in ("--tmpfs /tmp", "--cap-drop ALL", "--security-opt no-new-privileges"):
        assert flag in command


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    image = Image(tmp_path)
    for rest in FINAL.all("ENV"):
        image.set(rest)
    return image.environment


def test_the_service_listens_where_others_can_reach_it(environment: dict[str, str]) -> None:
    assert environment["SERVER_HTTP__HOST"] == "0.0.0.0"
    assert environment["SERVER_HTTP__PORT"] == FINAL.last("EXPOSE")


def test_temporary_files_go_where_a_read_only_root_can_be_written(
    environment: dict[str, str],
) -> None:
    """Without such a folder `import tensorflow` fails (measured, with all else read-only)."""
    assert environment["TMPDIR"] == "/dev/shm"


@pytest.mark.process
def test_the_health_check_fails_where_nothing_listens(tmp_path: Path) -> None:
    image = build(tmp_path, stand_in)
    image.environment["SERVER_HTTP__PORT"] = str(free_port())
    check = json.loads(FINAL.last("HEALTHCHECK").partition("CMD ")[2])

    asked = image.start(check, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    answer, complaint = asked.communicate(timeout=10)

    assert asked.returncode == 1
    assert "refused" in answer
    assert complaint == ""


@pytest.mark.process
def test_the_entry_point_serves_what_the_dockerfile_copies(tmp_path: Path) -> None:
    """Healthy, right, and gone with code 0 on the stop signal, outside the checkout."""
    assert_serves(build(tmp_path, stand_in), tmp_path)


@pytest.mark.process
@pytest.mark.skipif(not can_confine(), reason="needs the right to unshare and mount")
def test_it_serves_where_nothing_can_be_written_and_without_capabilities(tmp_path: Path) -> None:
    assert_serves(build(tmp_path, stand_in), tmp_path, before=CONFINING)


@pytest.mark.torture
@pytest.mark.process
@pytest.mark.timeout(900)  # installs TensorFlow
def test_every_command_works_in_a_clean_environment(tmp_path: Path) -> None:
    assert_serves(build(tmp_path, run_for_real), tmp_path)
