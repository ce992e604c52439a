"""The rows of docs/coming-from.md, with a real server and a fake model.

A test has the name of its row. Those of rows that need no server are in
tests/config/test_foreign.py, and Triton's own client is in test_clients.py.
"""

from __future__ import annotations

import gzip
import http.client
import json
import re
import signal
import ssl
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from backports import zstd

from tests.process.conftest import Start
from tests.process.harness import CHECKOUT, Server, wait_until
from tests.process.migration import KEY, ROW, Reply, ask, lay_out, served, write_config
from tests.process.questions import QUESTIONS, Told

pytestmark = pytest.mark.process

PAGE = "https://page.example"


# Starting


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with models as the servers expect them."""
    lay_out(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "flag, path, expected",
    [
        pytest.param("--model_base_path=", "prices", {"prices": "2"}, id="tfserving"),
        pytest.param("--model-repository=", "repository", {"a": "2", "b": "2"}, id="triton"),
        pytest.param("--model_dir=", "mnt/models", {"models": "1"}, id="kserve"),
        pytest.param("", "prices", {"prices": "2"}, id="argument"),
    ],
)
def test_a_model(
    start: Start, models: Path, flag: str, path: str, expected: dict[str, str]
) -> None:
    assert served(start(f"{flag}{models}/{path}")) == expected


def test_by_environment(start: Start, models: Path) -> None:
    environ = {"MODEL_NAME": "prices", "MODEL_BASE_PATH": str(models)}

    assert served(start(environ=environ)) == {"prices": "2"}


def test_several_models(start: Start, models: Path) -> None:
    """The repository is in `test_a_model`."""
    first = "name: 'first' base_path: 'BASE/prices' model_platform: 'tensorflow'"
    flag = write_config(models, first, "name: 'second', base_path: 'BASE/mnt/models'")

    assert served(start(flag)) == {"first": "2", "second": "1"}


def test_versions(start: Start, models: Path) -> None:
    server = start(f"{models}/prices", "--model.max_versions=2")

    for version in ("1", "2"):
        reply = ask(server, f"/v1/models/prices/versions/{version}:predict", ROW)
        assert (reply.status, reply.headers["X-Model-Version"]) == (200, version)


def test_which_versions(start: Start, models: Path) -> None:
    policies = {"one": "specific { versions: 1 }", "newest": "latest { num_versions: 1 }"}
    flag = write_config(
        models,
        *(
            f"name: '{name}' base_path: 'BASE/prices' model_version_policy {{ {policy} }}"
            for name, policy in policies.items()
        ),
    )

    assert served(start(flag)) == {"one": "1", "newest": "2"}


def test_a_configuration_of_triton_is_not_read_and_the_log_says_so(
    start: Start, models: Path
) -> None:
    server = start(f"--model-repository={models}/repository/a")

    assert served(server) == {"a": "2"}
    server.until_logged(f"not read: {models}/repository/a/config.pbtxt; the model says")


def test_timeout(start: Start) -> None:
    server = start("--rest_api_timeout_in_ms=100", "--model.hang_timeout_s=0")
    server.gate.hold()

    assert ask(server, "/v1/models/my_best_model:predict", ROW).status == 504


def test_threads_processes(start: Start) -> None:
    assert len(start("--model.threads=1", "--model.replicas=2").model_pids) == 2


def test_new_versions(start: Start, models: Path) -> None:
    server = start(f"{models}/prices", "--file_system_poll_wait_seconds=0.01")
    (models / "prices" / "3.keras").write_text("")

    wait_until(lambda: served(server) == {"prices": "3"}, what="version 3")


def test_a_model_that_is_added_to_a_repository_is_loaded_on_sighup(
    start: Start, models: Path
) -> None:
    server = start(f"--model-repository={models}/repository")
    (models / "prices").rename(models / "repository" / "c")
    server.signal(signal.SIGHUP)
    server.until_logged("ready: c version 2")

    assert served(server) == {"a": "2", "b": "2", "c": "2"}


def test_a_broken_model(start: Start, models: Path) -> None:
    flag = write_config(models, "base_path: 'BASE/prices'", "base_path: 'BASE/broken.keras'")
    server = start(flag, "--exit-on-error=true", ready=False)

    assert server.exit_code() == 2
    assert server.stderr.endswith("broken.keras: is broken\n")


def test_shutdown(start: Start) -> None:
    server = start("--exit-timeout-secs=0", "--http.drain_grace_ms=0")
    server.occupy()
    server.signal()

    assert server.exit_code() == 3


def test_https(start: Start) -> None:
    cert, key = (CHECKOUT / "tests" / "data" / f"tls.{ending}" for ending in ("crt", "key"))
    server = start(f"--http.tls_cert={cert}", f"--http.tls_key={key}", ready=False)
    server.until_logged("listening on https://")
    [port] = re.findall(r"listening on https://127\.0\.0\.1:(\d+)", server.stderr)
    trusted = ssl.create_default_context(cafile=cert)

    with closing(http.client.HTTPSConnection("localhost", int(port), context=trusted)) as client:
        client.request("GET", "/v2/health/live")
        assert client.getresponse().status == 200


# Asking


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that the tests from here on share."""
    flags = [
        *("--model_name=line", f"--auth.api_keys={KEY['X-API-Key']}"),
        *(f"--http.cors_origins={PAGE}", "--http.compress_min_bytes=1"),
    ]
    with Server(tmp_path_factory.mktemp("migrated") / "server", *flags) as server:
        yield server.until_ready()


def test_cors(migrated: Server) -> None:
    reply = ask(migrated, "/v1/models/line:predict", ROW, {**KEY, "Origin": PAGE})

    assert reply.headers["Access-Control-Allow-Origin"] == PAGE


def test_batching(migrated: Server) -> None:
    """Requests of all protocols that wait for a model share its next call."""
    migrated.gate.hold()
    before = len(migrated.calls)
    clients = [migrated.send([0], KEY)]
    wait_until(lambda: len(migrated.calls) > before, what="the blocked call")
    for question in (QUESTIONS["rows"], QUESTIONS["tensors"]):
        head = f"POST {question.path} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {KEY['X-API-Key']}"
        length = f"Content-Length: {len(question.body)}"
        clients.append(migrated.connect())
        clients[-1].send_bytes(f"{head}\r\n{length}\r\n\r\n".encode() + question.body)
    migrated.settle()
    migrated.gate.release()

    assert [client.answer().status for client in clients] == [200, 200, 200]
    assert migrated.calls[before:] == [[0], [1, 1]]


@pytest.mark.parametrize("name", QUESTIONS)
def test_predictions(migrated: Server, name: str) -> None:
    question = QUESTIONS[name]
    reply = ask(migrated, question.path, question.body, {**KEY, **question.headers})

    assert reply.status == 200, reply.body
    told = question.read(reply.body, reply.headers)
    assert told in (Told(4), Told(4, "1"))


@pytest.mark.parametrize(
    "path, name",
    [
        ("/v1/models/line/versions/{}:predict", "rows"),
        ("/v2/models/line/versions/{}/infer", "tensors"),
    ],
    ids=["v1", "v2"],
)
def test_of_a_version(migrated: Server, path: str, name: str) -> None:
    body = QUESTIONS[name].body

    assert ask(migrated, path.format(1), body).headers["X-Model-Version"] == "1"
    assert ask(migrated, path.format(9), body).status == 404


@pytest.mark.parametrize("verb", ["classify", "regress", "explain"])
def test_classify_regress_explain(migrated: Server, verb: str) -> None:
    for version in ("", "/versions/1"):
        reply = ask(migrated, f"/v1/models/line{version}:{verb}", b'{"examples": [{"x": 1}]}')

        assert reply.status == 405
        assert reply.body == b'{"error":"POST is not allowed here; ask :predict."}'
        assert reply.headers["Allow"] == "GET, HEAD, OPTIONS"


def test_of_a_label(migrated: Server) -> None:
    path = "/v1/models/line/labels/stable:predict"

    check_no_path(ask(migrated, path, ROW), f"{path}: ask for a version by its number")


def documents(*rows: tuple[str, str, str]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Parametrize a test by the short name, the path and some content of documents."""
    given = [pytest.param(path, words, id=name) for name, path, words in rows]
    return pytest.mark.parametrize("path, words", given)


def check_document(server: Server, path: str, words: str) -> None:
    reply = ask(server, path)

    assert reply.status == 200
    assert words in reply.body.decode()


@documents(
    ("v1", "/v1/models/line/metadata", '"x": {"dtype": "DT_FLOAT"'),
    ("v1-version", "/v1/models/line/versions/1/metadata", '"x": {"dtype": "DT_FLOAT"'),
    ("v2", "/v2/models/line", '{"name": "x", "datatype": "FP32", "shape": [-1, 1]}'),
)
def test_metadata(migrated: Server, path: str, words: str) -> None:
    check_document(migrated, path, words)


@documents(
    ("tensors", "/v2/models/line/config", '{"name": "x", "data_type": "TYPE_FP32", "dims": [1]}'),
    ("rows", "/v2/models/line/config", '"max_batch_size": 64'),
    ("processes", "/v2/models/line/config", '"count": 1'),
)
def test_configuration(migrated: Server, path: str, words: str) -> None:
    check_document(migrated, path, words)


@documents(
    ("tfserving", "/v1/models/line", '"state": "AVAILABLE"'),
    ("kserve", "/v1/models/line", '"name": "line", "ready": true'),
    ("v2", "/v2/models/line/ready", '{"name": "line", "ready": true}'),
)
def test_state(migrated: Server, path: str, words: str) -> None:
    check_document(migrated, path, words)


@documents(
    ("live", "/v2/health/live", '"live": true'),
    ("ready", "/v2/health/ready", '"ready": true'),
    ("kserve", "/", '"status": "alive"'),
)
def test_health(migrated: Server, path: str, words: str) -> None:
    check_document(migrated, path, words)


@documents(
    ("tfserving", "/monitoring/prometheus/metrics", "predict_requests_total"),
    ("triton-kserve", "/metrics", "predict_requests_total"),
)
def test_metrics(migrated: Server, path: str, words: str) -> None:
    check_document(migrated, path, words)


@documents(
    ("model", "/v2/models/line/stats", '"inference_stats": {"success":'),
    ("all", "/v2/models/stats", '"inference_stats": {"success":'),
)
def test_statistics(migrated: Server, path: str, words: str) -> None:
    check_document(migrated, path, words)


@documents(
    ("v1", "/v1/models", '{"models": ["line"]}'),
    ("v2", "/v2/models", '{"models": ["line"]}'),
    ("index", "/v2/repository/index", '"name": "line", "version": "1", "state": "READY"'),
)
def test_list_of_models(migrated: Server, path: str, words: str) -> None:
    check_document(migrated, path, words)


def test_tensors_in_bytes(migrated: Server) -> None:
    question = QUESTIONS["tensors in bytes"]
    reply = ask(migrated, question.path, question.body, {**KEY, **question.headers})

    assert question.read(reply.body, reply.headers) == Told(4, "1")


@pytest.mark.parametrize(
    "path, words",
    [
        ("/v2/systemsharedmemory/status", "send tensors in the request"),
        ("/v2/cudasharedmemory/region/a/register", "send tensors in the request"),
        ("/v2/trace/setting", "send traceparent"),
        ("/v2/models/line/trace/setting", "send traceparent"),
        ("/v2/logging", "set logging.level"),
    ],
    ids=["system", "cuda", "trace", "trace-of-a-model", "log"],
)
def test_shared_memory_trace_and_log_settings(migrated: Server, path: str, words: str) -> None:
    for body in (None, b"{}"):
        check_no_path(ask(migrated, path, body), f"{path}: {words}")


@pytest.mark.parametrize("name", ["generate", "generate_stream"])
def test_generate(migrated: Server, name: str) -> None:
    path = f"/v2/models/line/{name}"

    check_no_path(ask(migrated, path, b"{}"), f"{path}: ask …/infer")


def check_no_path(reply: Reply, words: str) -> None:
    """Check that an answer is a 404 in the form of V1 and V2, which begins with these words."""
    assert reply.status == 404
    assert reply.body.decode().startswith(f'{{"error":"The service has no path {words}')


@pytest.mark.parametrize(
    "coding, compress, decompress",
    [
        ("gzip", gzip.compress, gzip.decompress),
        ("deflate", zlib.compress, zlib.decompress),
        ("zstd", zstd.compress, zstd.decompress),
    ],
    ids=["gzip", "deflate", "zstd"],
)
def test_compressed_bodies(
    migrated: Server,
    coding: str,
    compress: Callable[[bytes], bytes],
    decompress: Callable[[bytes], bytes],
) -> None:
    headers = {**KEY, "Content-Encoding": coding, "Accept-Encoding": coding}
    body = json.dumps({"instances": [[1]] * 500}).encode()
    reply = ask(migrated, "/v1/models/line:predict", compress(body), headers)

    assert reply.headers["Content-Encoding"] == coding
    assert json.loads(decompress(reply.body)) == {"predictions": [[4]] * 500}


def test_load_unload(start: Start, models: Path) -> None:
    first, second, third = (
        f"name: '{name}' base_path: 'BASE/prices'" for name in ("first", "second", "third")
    )
    server = start(write_config(models, first, second), f"--auth.api_keys={KEY['X-API-Key']}")
    path = "/v2/repository/models/first/{}"

    assert ask(server, path.format("unload"), b"", {}).status == 401
    assert ask(server, path.format("unload"), b"").status == 200
    assert ask(server, "/v2/models/first/ready").status == 404
    assert ask(server, path.format("load"), b"").status == 200
    assert ask(server, "/v2/repository/index", b"").body.count(b'"READY"') == 2
    assert served(server) == {"first": "2", "second": "2"}

    write_config(models, second, third)
    server.signal(signal.SIGHUP)
    wait_until(lambda: "first" not in server.get("/v1/models").json["models"], what="the new file")
    assert served(server) == {"second": "2", "third": "2"}
