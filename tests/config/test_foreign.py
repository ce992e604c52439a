"""Command lines and environments of TensorFlow Serving, Triton and KServe."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.config import ConfigError, ModelSource, Settings, load_settings
from server.config.foreign import ADVICE
from server.config.textproto import TextProtoError, parse

LIST = """
# as tensorflow.org/tfx/serving/serving_config shows it
model_config_list {
  config {
    name: 'first'
    base_path: "/models/first"  # comment
    model_platform: 'tensorflow'
    model_version_policy: { latest { num_versions: 1 } }
  }
  config: {
    name: "second", base_path: "models/second";
    model_version_policy { specific { versions: 42 } }
  }
}
"""


def load(*argv: str, folder: Path, **environ: str) -> Settings:
    return load_settings(argv, environ, folder)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A Triton repository with two models."""
    for name in ("a", "b"):
        version = tmp_path / "repository" / name / "1" / "model.savedmodel"
        version.mkdir(parents=True)
        (version / "saved_model.pb").write_bytes(b"")
        (tmp_path / "repository" / name / "config.pbtxt").write_text('backend: "tensorflow"')
    return tmp_path / "repository"


@pytest.mark.parametrize("separator", ["=", " "])
def test_flags_of_tensorflow_serving(tmp_path: Path, separator: str) -> None:
    flags = [f"--{name}" for name in ("model_name", "model_base_path", "rest_api_port")]
    values = ["prices", "/models/prices", "8501"]
    argv = [
        word
        for flag, value in zip(flags, values, strict=True)
        for word in f"{flag}{separator}{value}".split()
    ]
    settings = load(*argv, "--rest_api_timeout_in_ms=500", folder=tmp_path)

    assert (settings.model.name, settings.model.path) == ("prices", "/models/prices")
    assert (settings.http.port, settings.batching.deadline_ms) == (8501, 500)


def test_flags_of_kserve(tmp_path: Path) -> None:
    argv = ["--model_name=m", "--model_dir=/mnt/models", "--http_port=8080"]
    settings = load(*argv, folder=tmp_path)

    assert (settings.model.name, settings.model.path) == ("m", "/mnt/models")
    assert settings.http.port == 8080


def test_flags_of_triton(tmp_path: Path, repository: Path) -> None:
    settings = load(f"--model-repository={repository}", "--http-port=8000", folder=tmp_path)

    assert [model.name for model in settings.models] == ["a", "b"]
    assert settings.http.port == 8000


@pytest.mark.parametrize("name", ADVICE)
def test_a_flag_without_a_counterpart_is_answered_with_what_to_write(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(f"--{name}=1", folder=tmp_path)

    [line] = str(caught.value).splitlines()
    assert line.startswith(f"--{name}: ")
    assert any(word in line for word in ("write --", "leave it out", "send SIGHUP"))


def test_a_wrong_value_is_told_with_our_name_of_the_flag(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--http.port: 'x' is not an integer"):
        load("--rest_api_port=x", folder=tmp_path)


def test_a_list_of_models_in_text_form(tmp_path: Path) -> None:
    (tmp_path / "models.config").write_text(LIST)
    (tmp_path / "config.yaml").write_text("model: {path: other.keras}\nhttp: {port: 1}\n")
    settings = load("--model_config_file=models.config", folder=tmp_path)

    assert settings.models == (
        ModelSource(path="/models/first", name="first"),
        ModelSource(path="models/second", name="second", version="42"),
    )
    assert settings.http.port == 1


@pytest.mark.parametrize(
    "text, words",
    [
        ("", "lists no model"),
        ("model_config_list {", "a } is missing at the end"),
        ("model_config_list { config { name: 'a' } }", "a config has no base_path"),
        ("custom_model_config {}", "custom_model_config has no counterpart"),
        ("model_config_list { config { base_path: 'a' version_labels {} } }", "version_labels has"),
        (
            "model_config_list { config { base_path: 'a' model_version_policy { all {} } } }",
            "write --model.max_versions",
        ),
        ("model_config_list {\n config { name: @ } }", "line 2 is not protobuf's text form"),
        ("model_config_list: 1", "1 is not a message"),
        ("model_config_list { config: 1 }", "1 is not a message"),
        (LIST.replace("second", "first"), "two models are named first"),
    ],
)
def test_a_list_that_cannot_be_served_is_told_in_one_line(
    tmp_path: Path, text: str, words: str
) -> None:
    (tmp_path / "models.config").write_text(text)
    with pytest.raises(ConfigError, match=words) as caught:
        load("--model_config_file", "models.config", folder=tmp_path)

    assert str(caught.value).startswith("--model_config_file: ")
    assert "\n" not in str(caught.value)


def test_a_list_and_a_model_are_too_much(tmp_path: Path) -> None:
    (tmp_path / "models.config").write_text(LIST)
    with pytest.raises(ConfigError, match=r"model.path is given as well"):
        load("--model_config_file=models.config", "a.keras", folder=tmp_path)


def test_a_list_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"models.config: cannot be read: No such file"):
        load("--model_config_file=models.config", folder=tmp_path)


def test_the_environment_of_tensorflow_servings_image(tmp_path: Path) -> None:
    (tmp_path / "prices" / "1").mkdir(parents=True)
    settings = load(folder=tmp_path, MODEL_NAME="prices", MODEL_BASE_PATH=str(tmp_path))

    assert settings.model.path == str(tmp_path / "prices")
    assert settings.model.name == "prices"


def test_an_environment_that_names_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^environment MODEL_NAME: there is no /models/nothing"):
        load(folder=tmp_path, MODEL_NAME="nothing")


def test_model_name_means_nothing_where_a_model_is_given(tmp_path: Path) -> None:
    settings = load("a.keras", folder=tmp_path, MODEL_NAME="nothing")

    assert (settings.model.path, settings.model.name) == ("a.keras", "")


def test_a_triton_repository_is_an_argument(tmp_path: Path, repository: Path) -> None:
    settings = load("repository", folder=tmp_path)

    assert [model.path for model in settings.models] == ["repository/a", "repository/b"]


def test_one_model_with_versions_is_no_repository(repository: Path, tmp_path: Path) -> None:
    assert load(str(repository / "a"), folder=tmp_path).models == ()


@pytest.mark.parametrize("text", ["a", "a:", "a { b: }", "a: [1", "a: 'x", "}", "a: }"])
def test_what_is_no_text_form_is_rejected(text: str) -> None:
    with pytest.raises(TextProtoError):
        parse(text)


def test_lists_and_brackets_of_both_kinds_are_read() -> None:
    assert parse("a: [1, 2] b < c: -3 > b { c: true }") == {
        "a": ["1", "2"],
        "b": [{"c": ["-3"]}, {"c": ["true"]}],
    }
