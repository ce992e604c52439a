"""Command lines and environments of TensorFlow Serving, Triton and KServe.

Some tests have the name of their row in docs/coming-from.md; tests/process/test_coming_from.py has
those of the other rows.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from server.config import ConfigError, ModelSource, Settings, load_settings, schema
from server.config.foreign_flags import NO_GRPC, SAME, advice_on
from server.config.textproto import TextProtoError, parse

# The flags of `tensorflow_model_server` 2.x, `tritonserver` 2.x and KServe's ModelServer.
TENSORFLOW_SERVING = """
port grpc_socket_path rest_api_port rest_api_num_threads rest_api_timeout_in_ms
rest_api_enable_cors_support enable_batching allow_version_labels_for_unavailable_models
force_allow_any_version_labels_for_unavailable_models batching_parameters_file
enable_per_model_batching_parameters model_config_file model_config_file_poll_wait_seconds
model_name model_base_path num_load_threads num_unload_threads max_num_load_retries
load_retry_interval_micros file_system_poll_wait_seconds flush_filesystem_caches
tensorflow_session_parallelism tensorflow_session_config_file tensorflow_intra_op_parallelism
tensorflow_inter_op_parallelism use_alts_credentials ssl_config_file platform_config_file
per_process_gpu_memory_fraction saved_model_tags grpc_channel_arguments grpc_max_threads
enable_model_warmup num_request_iterations_for_warmup version monitoring_config_file
remove_unused_fields_from_bundle_metagraph prefer_tflite_model use_tflite_model num_tflite_pools
num_tflite_interpreters_per_pool enable_signature_method_name_check xla_cpu_compilation_enabled
xla_gpu_compilation_enabled enable_profiler thread_pool_factory_config_file mixed_precision
skip_initialize_tpu enable_grpc_healthcheck_service enable_serialization_as_tensor_content
"""
TRITON = """
id exit-timeout-secs model-store model-repository exit-on-error disable-auto-complete-config
strict-model-config strict-readiness model-control-mode repository-poll-secs load-model
model-load-thread-count model-load-retry-count model-namespacing model-load-gpu-limit allow-http
http-address http-port reuse-http-port http-header-forward-pattern http-thread-count
http-restricted-api allow-grpc grpc-address grpc-port reuse-grpc-port grpc-header-forward-pattern
grpc-infer-allocation-pool-size grpc-use-ssl grpc-use-ssl-mutual grpc-server-cert grpc-server-key
grpc-root-cert grpc-infer-response-compression-level grpc-keepalive-time grpc-keepalive-timeout
grpc-keepalive-permit-without-calls grpc-http2-max-pings-without-data grpc-http2-max-ping-strikes
grpc-http2-min-recv-ping-interval-without-data grpc-max-connection-age
grpc-max-connection-age-grace grpc-restricted-protocol log-verbose log-info log-warning log-error
log-format log-file allow-sagemaker sagemaker-port sagemaker-safe-port-range
sagemaker-thread-count allow-vertex-ai vertex-ai-port vertex-ai-thread-count
vertex-ai-default-model allow-metrics allow-gpu-metrics allow-cpu-metrics metrics-address
metrics-port metrics-interval-ms metrics-config trace-config trace-file trace-level trace-rate
trace-count trace-log-frequency cache-config cache-directory response-cache-byte-size rate-limit
rate-limit-resource pinned-memory-pool-byte-size cuda-memory-pool-byte-size
cuda-virtual-address-size min-supported-compute-capability buffer-manager-thread-count host-policy
backend-directory backend-config repoagent-directory
"""
KSERVE = """
http_port grpc_port workers max_threads max_asyncio_workers enable_grpc enable_docs_url
enable_latency_logging configure_logging log_config_file access_log_format model_name model_dir
predictor_host protocol predictor_protocol predictor_use_ssl predictor_request_timeout_seconds
predictor_request_retries enable_predictor_health_check explainer_host nthread
grpc_max_send_message_length grpc_max_receive_message_length
"""
FLAGS = sorted({*TENSORFLOW_SERVING.split(), *TRITON.split(), *KSERVE.split()})
WORKING = {*SAME, "model_config_file"}

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


@pytest.mark.parametrize("name", [flag for flag in FLAGS if flag not in WORKING])
def test_a_flag_without_a_counterpart_is_answered_with_what_to_write(
    tmp_path: Path, name: str
) -> None:
    for argv in ([f"--{name}"], [f"--{name}=true"], [f"--{name}", "1"]):
        with pytest.raises(ConfigError) as caught:
            load(*argv, folder=tmp_path)

        [line] = str(caught.value).splitlines()
        assert line.startswith(f"--{name}: ")
        assert any(word in line for word in ("write --", "leave it out", "send SIGHUP"))


def test_settings_that_advice_names_exist() -> None:
    named = {word for flag in FLAGS for word in re.findall(r"--[a-z0-9_.]+", advice_on(flag))}

    assert named
    assert named <= schema.FLAGS.keys()


def test_its_name(tmp_path: Path) -> None:
    assert load("--model_name=m", "a.keras", folder=tmp_path).model.served_name == "m"
    for path in ("/models/m", "/models/m.keras"):
        assert load(f"--model_base_path={path}", folder=tmp_path).model.served_name == "m"


def test_port_of_http(tmp_path: Path) -> None:
    assert load(folder=tmp_path).http.port == 8888
    for flag in ("rest_api_port", "http-port", "http_port"):
        assert load(f"--{flag}=8501", folder=tmp_path).http.port == 8501


def test_address(tmp_path: Path) -> None:
    assert load(folder=tmp_path).http.host == "127.0.0.1"
    for flag in ("http-address", "http.host"):
        assert load(f"--{flag}=0.0.0.0", folder=tmp_path).http.host == "0.0.0.0"


@pytest.mark.parametrize("flag", ["port", "grpc_port", "grpc-port"])
def test_grpc(tmp_path: Path, flag: str) -> None:
    with pytest.raises(ConfigError, match=f"^--{flag}: {NO_GRPC}$"):
        load(f"--{flag}=8500", folder=tmp_path)


@pytest.mark.parametrize("second", ["model-repository", "model-store"])
def test_a_second_repository_is_rejected(tmp_path: Path, second: str) -> None:
    with pytest.raises(ConfigError, match=f"^--{second}: only one repository can be given"):
        load("--model-repository=a", f"--{second}", "b", folder=tmp_path)


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
        (
            "model_config_list { config { base_path: 'a' version_labels {} } }",
            "version_labels has no counterpart here; leave it out, and ask for a version by its",
        ),
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


def test_files_beside_the_models_of_a_repository_are_ignored(
    tmp_path: Path, repository: Path
) -> None:
    (repository / "README.md").write_text("")
    (repository / "lost+found").mkdir(mode=0)
    (repository / "a").rename(repository / "a.v1")
    settings = load("--model-repository=repository", folder=tmp_path)

    assert [model.name for model in settings.models] == ["a.v1", "b"]


@pytest.mark.parametrize("file", ["1.keras", "model.H5", "saved_model.pb"])
def test_a_folder_with_a_model_is_no_repository(
    tmp_path: Path, repository: Path, file: str
) -> None:
    (repository / file).write_text("")

    assert load("repository", folder=tmp_path).models == ()


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
