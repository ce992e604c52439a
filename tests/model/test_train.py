from __future__ import annotations

import inspect
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.keras

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def train() -> Any:
    """The module, imported when a test runs instead of when it is collected."""
    from model import train

    return train


def test_the_data_are_six_points_of_a_line(train: Any):
    x, y = train.get_data()
    assert x.ravel().tolist() == [-1, 0, 1, 2, 3, 4]
    assert y.tolist() == [-2, 1, 4, 7, 10, 13]


def test_the_defaults_are_those_of_the_notebook(train: Any):
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(train.train_model).parameters.items()
        if parameter.default is not parameter.empty
    }
    assert defaults == {"optimizer": "sgd", "loss": "mean_squared_error", "epochs": 500}


def test_the_network_is_one_unit_on_one_number_and_learns_the_line(train: Any):
    model = train.train_model(*train.get_data())

    assert (model.input_shape, model.output_shape) == ((None, 1), (None, 1))
    assert [type(layer).__name__ for layer in model.layers] == ["Dense"]
    weights, bias = model.get_weights()
    assert weights.tolist() == [[pytest.approx(3, abs=0.01)]]
    assert bias.tolist() == [pytest.approx(1, abs=0.01)]


def test_training_twice_gives_the_very_same_weights(train: Any):
    """Random numbers drawn before do not matter."""
    once = train.train_model(*train.get_data(), epochs=3).get_weights()
    np.random.rand(3)  # the state that Keras seeds
    twice = train.train_model(*train.get_data(), epochs=3).get_weights()

    assert [array.tolist() for array in once] == [array.tolist() for array in twice]


def test_training_accepts_other_data(train: Any):
    """Plain lists, more features, and more rows than one batch of Keras holds."""
    features = [[a / 3, b / 3] for a in range(-5, 6) for b in range(-5, 6)]
    model = train.train_model(features, [2 * a - b for a, b in features], epochs=100)

    assert model.input_shape == (None, 2)
    assert model.get_weights()[0].ravel().tolist() == pytest.approx([2, -1], abs=0.05)


def test_it_logs_a_line_every_100_epochs_where_there_is_no_terminal(
    train: Any, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO)
    train.train_model(*train.get_data(), epochs=250)

    lines = [line.partition(":")[0] for line in caplog.messages]
    assert lines == ["training on 6 rows for 250 epochs", "epoch 100", "epoch 200"]


@pytest.mark.torture
def test_it_draws_a_bar_on_a_terminal(tmp_path: Path):
    """A pseudo-terminal, as `ssh` and `docker run -t` give one."""
    import pty

    master, terminal = pty.openpty()
    command = [sys.executable, "-m", "model.train", "--out", str(tmp_path / "m.keras")]
    process = subprocess.Popen(command, cwd=CHECKOUT, stderr=terminal, stdout=subprocess.PIPE)
    os.close(terminal)
    shown = b""
    while chunk := read(master):
        shown += chunk
    stdout, _ = process.communicate(timeout=30)

    assert process.returncode == 0
    assert "100%" in shown.decode()
    assert "epoch 100" not in shown.decode()
    assert stdout == b""
    assert (tmp_path / "m.keras").exists()


def read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # on Linux: the other side has closed its terminal
        return b""


@pytest.fixture
def model(train: Any) -> Any:
    return train.train_model(*train.get_data(), epochs=1)


def test_saving_creates_the_folder_with_only_the_model_in_it(
    train: Any, model: Any, tmp_path: Path
):
    path = tmp_path / "new" / "folder" / "m.keras"
    train.save_model(model, path)
    train.save_model(model, str(path))
    assert list(path.parent.iterdir()) == [path]


def test_the_permissions_of_a_saved_file_follow_the_umask(train: Any, model: Any, tmp_path: Path):
    """For example a server that runs as another user."""
    (tmp_path / "plain").touch()
    train.save_model(model, tmp_path / "m.keras")
    assert (tmp_path / "m.keras").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_saving_that_fails_leaves_the_old_file_as_it_was(
    train: Any, model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "m.keras"
    train.save_model(model, path)
    before = path.read_bytes()

    def half(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(model, "save", half)
    with pytest.raises(OSError, match="disk full"):
        train.save_model(model, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_another_ending_is_rejected_before_training(train: Any, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        train.main(["--out", "m.pkl"])
    assert ended.value.code == 2
    assert "m.pkl does not end in .keras" in capsys.readouterr().err
