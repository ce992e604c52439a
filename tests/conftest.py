"""What tests of several folders share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def example_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example model's file, trained on first use, which takes a few seconds."""
    from model.train import get_data, save_model, train_model

    path = tmp_path_factory.mktemp("model") / "my_best_model.keras"
    save_model(train_model(*get_data()), path)
    return path
