"""`python -m server convert`, with a network of numpy in place of TensorFlow's."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from model.engines.choose import Choice, scored
from model.process.prepare import LoadRequest
from server.serving import convert_model
from tests.support.fake_process import Load, in_threads, write_choice
from tests.support.harness import FakeModel

TIMINGS = scored({"tensorflow": {1: 0.004, 8: 0.008}, "onnx": {1: 0.001, 8: 0.002}})
DIFFERS = "it answers otherwise than TensorFlow: y by 1.0e-01 of its scale (examples)"


class Conversions:
    """Stands for what model processes do.

    Attributes:
        choice: what comes of trying the engine.
        loads: what was loaded.
    """

    def __init__(self) -> None:
        self.choice = Choice("onnx", TIMINGS)
        self.tried: list[LoadRequest] = []
        self.loads: list[LoadRequest] = []
        self.is_broken = False

    def try_engines(self, load: Load, request: LoadRequest) -> Choice:
        self.tried.append(request)
        return write_choice(self.choice, request)

    def load(self, request: LoadRequest) -> FakeModel:
        self.loads.append(request)
        if self.is_broken and request.path.endswith(".onnx"):
            raise ValueError("no such operation")
        return FakeModel()


@pytest.fixture
def conversions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Conversions:
    """In a folder with the model `line.keras`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # those of pytest stay
    (tmp_path / "line.keras").write_text("a model")
    return Conversions()


def run(conversions: Conversions, *arguments: str) -> int:
    return convert_model.main(arguments, in_threads(conversions.load, conversions.try_engines))


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_folder_is_written_that_the_server_takes(
    conversions: Conversions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(conversions, "line.keras", "--engine", "onnx", "--out", "new/line") == 0

    assert files(tmp_path) == ["line.keras", "new/line/model.onnx"]
    assert (tmp_path / "new/line/model.onnx").read_text() == "converted"
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [
        "a call of 1 row: 1 ms with onnx, 4 ms with TensorFlow",
        "a call of 8 rows: 2 ms with onnx, 8 ms with TensorFlow",
        "written: new/line/model.onnx (9 bytes)",
        "to serve it: python -m server new/line",
    ]
    assert printed.err.splitlines() == [
        "loading line.keras with TensorFlow",
        "converting it for onnx, and comparing the answers",
        "loading the result without TensorFlow",
    ]


def test_the_result_is_compared_with_the_model_and_loaded_as_a_server_does(
    conversions: Conversions,
) -> None:
    settings = ("--model.sha256", "ab" * 32, "--model.signature", "serve")
    assert run(conversions, "line.keras", "--out", "new", *settings) == 0
    before, after = conversions.loads
    [tried] = conversions.tried

    assert (before.path, before.options.signature) == ("line.keras", "serve")
    assert tried.conversion
    assert (tried.conversion.engines, tried.conversion.only) == (("onnx",), "onnx")
    assert tried.max_rows > 1
    for request in (tried, after):
        assert request.before
        assert len(request.before.golden) == 2
    assert Path(after.path).name == "model.onnx"
    assert (after.options.sha256, after.options.signature) == ("", "")


def test_a_model_that_does_not_agree_is_not_written(
    conversions: Conversions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    conversions.choice = Choice("tensorflow", TIMINGS, {"onnx": DIFFERS})
    assert run(conversions, "line.keras", "--out", "new") == 1

    assert capsys.readouterr().err.splitlines()[-1] == (
        f"convert: line.keras: stays on TensorFlow: {DIFFERS}"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["line.keras"]


def test_a_result_that_cannot_be_loaded_is_not_written(
    conversions: Conversions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    conversions.is_broken = True
    assert run(conversions, "line.keras", "--out", "new") == 1

    assert "cannot be served: ValueError: no such operation" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["line.keras"]


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        (["line.keras"], 2, "the following arguments are required: --out"),
        (["line.keras", "--out", "full"], 2, "--out: full is not empty; name a new folder"),
        (["line.keras", "--out", "line.keras"], 2, "--out: line.keras is a file; name a new"),
        (["line.keras", "--out", "line.keras/a/b"], 2, "--out: line.keras/a/b cannot be written"),
        (["line.keras", "--out", "new", "--engine", "fast"], 2, "argument --engine: invalid"),
        (["line.keras", "--out", "new", "--model.sig", "x"], 2, "--model.sig: unknown flag"),
        (["--out", "new", "--config", "two.yaml"], 2, "the settings list several models; give"),
        (["none.keras", "--out", "new"], 1, "none.keras: no such file"),
        (["full/line.onnx", "--out", "new"], 1, "full/line.onnx: is served without TensorFlow"),
    ],
)
def test_what_cannot_be_converted_is_said_in_one_line(
    conversions: Conversions,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "line.onnx").write_text("a model")
    (tmp_path / "two.yaml").write_text("models: [{path: a.keras}, {path: b.keras}]")
    if "none.keras" in arguments:
        conversions.load = missing  # type: ignore[method-assign]  # as the real one does
    try:
        found = run(conversions, *arguments)
    except SystemExit as ended:
        found = int(str(ended.code))

    last = capsys.readouterr().err.splitlines()[-1]
    assert (found, last.startswith(f"convert: {words}")) == (code, True), last
    assert not (tmp_path / "new").exists()


def missing(request: LoadRequest) -> FakeModel:
    from model.formats.files import check_file

    check_file(request.path)
    raise AssertionError
