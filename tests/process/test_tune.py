"""`python -m server tune` with real servers and real load, in child processes."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.loadtest.html_page import Page
from tests.process.harness import REAL, Child, wait_until

pytestmark = pytest.mark.process

CHECKOUT = Path(__file__).parents[2]
EXAMPLE = CHECKOUT / "model" / "my_best_model.keras"
FAKE_TUNE = (sys.executable, "-m", "tests.process.tune_fake")
# An objective that is met on a busy machine too, and is below the default of max_queue_ms.
SHORT = ("--p99-ms", "900", "--step-seconds", "0.2", "--rounds", "1")


def tune(folder: Path, *arguments: str, command: tuple[str, ...] = FAKE_TUNE) -> Child:
    return Child([*command, *arguments], folder, environ={"FAKE_FOLDER": str(folder)})


def servers_of(child: Child) -> list[int]:
    """Return the process ids of the running servers that it started."""
    return list(_children(child.process.pid))


def _children(pid: int) -> Iterator[int]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:  # it has just exited
            continue
        if parent == pid:
            yield int(folder.name)


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def check_what_was_written(child: Child, model: str) -> None:
    text = (child.folder / "tuned.yaml").read_text()
    settings = yaml.safe_load(text)
    page = Page((child.folder / "tuned.html").read_text())

    assert settings["batching"].keys() == {"max_rows", "max_wait_ms", "max_queue_ms"}
    assert settings["model"].keys() == {"engine", "threads", "replicas"}
    assert "# Milliseconds of a call, by its rows:\n#   tensorflow: 1: " in text
    assert f"python -m server {model} --config tuned.yaml" in child.stdout
    assert "round 1 of 1: the defaults" in child.stderr
    assert f"Settings for {Path(model).name}" in page.text
    for words in (
        "A limit on the queueing time, at the knee",
        "Duration of model calls on each engine",
        "Milliseconds per call",
        "Settings tested: Batching",
        "Recommended",
        "Latency",
    ):
        assert words in page.text
    assert page.loads == []


def test_tune_writes_settings_and_a_report(tmp_path: Path) -> None:
    only = ("--test", "batching", "--max-rate", "100")
    with tune(tmp_path / "t", "any.keras", *SHORT, *only) as child:
        code = child.exit_code(90)

        assert code == 0, child.stderr
        check_what_was_written(child, "any.keras")
        assert servers_of(child) == []


@pytest.mark.torture
@pytest.mark.timeout(600)
def test_processes_are_tested_and_engines_only_if_they_can_compute_the_model(
    tmp_path: Path,
) -> None:
    only = ("--test", "engines,processes", "--max-rate", "100")
    with tune(tmp_path / "t", "any.keras", *SHORT, *only) as child:
        assert child.exit_code(500) == 0, child.stderr
        text = (child.folder / "tuned.yaml").read_text()
        page = Page((child.folder / "tuned.html").read_text()).text

    why = "not used: Keras calls the model layer by layer"
    assert f"openvino: {why}" in child.stderr
    assert f"#   onnx: {why}\n" in text
    assert "replicas 2: " in text or len(os.sched_getaffinity(0)) == 1
    assert "Settings tested: Threads and processes" in page
    assert "Settings tested: Batching" not in page


@pytest.mark.torture
def test_tune_recommends_nothing_if_no_settings_meet_the_objective(tmp_path: Path) -> None:
    """A call takes 50 ms, and the objective is 1 ms; a report is written all the same."""
    environ = {"FAKE_FOLDER": str(tmp_path / "t"), "FAKE_SECONDS": "0.05"}
    flags = ("--p99-ms", "1", "--step-seconds", "0.3", "--rounds", "1", "--max-rate", "4")
    with Child([*FAKE_TUNE, "any.keras", *flags], tmp_path / "t", environ=environ) as child:
        assert child.exit_code(90) == 1
        assert "No settings met the objective of 1 ms at any rate." in child.stdout
        assert not (child.folder / "tuned.yaml").exists()
        assert (
            "No settings met the objective of 1 ms"
            in Page((child.folder / "tuned.html").read_text()).text
        )


@pytest.mark.torture
@pytest.mark.parametrize("moment", ["round 1", "offered"], ids=["starting", "under load"])
def test_the_server_of_tune_is_stopped_with_it(tmp_path: Path, moment: str) -> None:
    """Whenever SIGTERM arrives."""
    with tune(tmp_path / "t", "any.keras", "--step-seconds", "60", "--rounds", "1") as child:
        wait_until(lambda: moment in child.stderr and servers_of(child), 60, what="a server")
        servers = servers_of(child)
        child.signal(signal.SIGTERM)

        assert child.exit_code() == 143
        assert [pid for pid in servers if is_there(pid)] == []


@pytest.mark.parametrize(
    "arguments, words",
    [
        ([], "the following arguments are required: MODEL"),
        (["m.keras", "--p99-ms", "fast"], "argument --p99-ms: not a number above 0"),
        (["m.keras", "--rows", "0"], "argument --rows: not a whole number above 0"),
        (["m.keras", "--test", "speed"], "argument --test: 'speed' is not one of engines,"),
        (["m.keras", "--p99", "5"], "unrecognized arguments: --p99 5"),
        (["m.keras", "--out", "none/t.yaml"], "none/t.yaml: cannot be written: No such file"),
    ],
)
def test_a_usage_error_is_one_line(tmp_path: Path, arguments: list[str], words: str) -> None:
    with tune(tmp_path / "t", *arguments) as child:
        assert child.exit_code() == 2
        assert child.stderr.startswith(f"tune: {words}")
        assert child.stderr.count("\n") == 1
        assert child.stdout == ""


@pytest.mark.parametrize("name", ["none.keras", "README.md"])
def test_an_unusable_model_is_reported_in_one_line(tmp_path: Path, name: str) -> None:
    """Like with the server itself."""
    with tune(tmp_path / "t", name, command=(*REAL, "tune")) as child:
        assert child.exit_code() == 2
        measuring, complaint = child.stderr.splitlines()
        assert measuring == f"measuring {name}"
        assert complaint.startswith(f"tune: {name}")
        assert not (child.folder / "tuned.yaml").exists()


@pytest.mark.torture
@pytest.mark.timeout(600)
def test_a_real_model_is_tuned(tmp_path: Path) -> None:
    command = (*REAL, "tune")
    with tune(tmp_path / "t", str(EXAMPLE), *SHORT, "--max-rate", "100", command=command) as child:
        assert child.exit_code(500) == 0, child.stderr
        check_what_was_written(child, str(EXAMPLE))
        assert "converting it for onnx, and comparing the answers" in child.stderr
        assert re.search(r"round 1 of 1: (onnx|openvino)$", child.stderr, re.MULTILINE)
