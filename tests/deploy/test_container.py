"""The commands of the containers, run here: settings, probes, `helm test`, shutdown."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.cluster import Object, kind, needs_helm, render
from tests.deploy.test_kserve import CONTAINER
from tests.process.harness import (
    FAKE,
    FAKE_SETTINGS,
    Answer,
    Child,
    Client,
    free_port,
    wait_until,
)

pytestmark = pytest.mark.process


class Container(Child):
    """The process of a container, with its paths in a folder and a fake model."""

    def __init__(self, container: Object, folder: Path, port: int, paths: dict[str, str]) -> None:
        """Replace each path of the container, and its port, which the arguments may have."""
        self.port = port
        environ = {each["name"]: each["value"] for each in container["env"]}
        environ |= {"TMPDIR": str(folder.parent), "FAKE_FOLDER": str(folder), **FAKE_SETTINGS}
        arguments = list(container["args"])
        for old, new in paths.items():
            arguments = [word.replace(old, new) for word in arguments]
        # The image has this variable; the chart sets it, too.
        environ = {"SERVER_HTTP__HOST": "0.0.0.0", **environ}
        super().__init__([*FAKE, *arguments], folder, environ=environ)

    def get(self, path: str) -> Answer:
        return Client(self.port).send(path=path).answer()

    def answers(self, probe: Object) -> bool:
        """Return whether a probe of the kubelet succeeds."""
        try:
            return self.get(probe["httpGet"]["path"]).status == 200
        except OSError:
            return False


def model_in(folder: Path) -> str:
    """Return a new folder with one file, as a volume has it."""
    folder.mkdir()
    (folder / "prices.keras").write_bytes(b"the fake model reads nothing")
    return str(folder)


@pytest.fixture
def rendered(tmp_path: Path) -> dict[str, Any]:
    """The chart with a volume, on a free port."""
    port = free_port()
    values = {
        "modelVolume": {"persistentVolumeClaim": {"claimName": "models"}},
        "settings": {"http": {"port": port, "drain_grace_ms": 500}},
    }
    return {"port": port, "objects": render(values)}


@contextmanager
def started(rendered: dict[str, Any], tmp_path: Path) -> Iterator[Container]:
    """The container of the chart, when its startup and readiness probes have succeeded."""
    objects = rendered["objects"]
    text = kind("ConfigMap", objects)["data"]["config.yaml"]
    config = tmp_path / "config.yaml"
    config.write_text(text.replace("/mnt/models", model_in(tmp_path / "models")))
    [container] = kind("Deployment", objects)["spec"]["template"]["spec"]["containers"]
    paths = {"/etc/keras-batch-server/config.yaml": str(config)}
    with Container(container, tmp_path / "pod", rendered["port"], paths) as pod:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            wait_until(lambda probe=probe: pod.answers(container[probe]), what=probe)
        yield pod


@needs_helm
def test_the_chart_starts_a_service_that_passes_helm_test(
    rendered: dict[str, Any], tmp_path: Path
) -> None:
    with started(rendered, tmp_path) as pod:
        done = helm_test(rendered["objects"], f"http://127.0.0.1:{pod.port}")
        pod.signal()

        assert (done.returncode, done.stderr) == (0, "")
        assert "GET /v2/health/ready: 200" in done.stdout
        assert 'POST /predict: 200 {"prediction":' in done.stdout
        assert pod.exit_code() == 0


def helm_test(objects: list[Object], url: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the pod of `helm test` against a URL."""
    [container] = kind("Pod", objects)["spec"]["containers"]
    [python, *options] = container["command"]
    assert python == "python"
    script, address = container["args"]
    assert address == "http://prices-keras-batch-server.ml:80"
    return subprocess.run(
        [sys.executable, *options, script, url],
        capture_output=True,
        text=True,
        env=environ,
        check=False,
    )


@needs_helm
def test_helm_test_fails_where_the_service_does(rendered: dict[str, Any], tmp_path: Path) -> None:
    with started(rendered, tmp_path) as pod:
        pod.signal()
        wait_until(lambda: pod.get("/v2/health/ready").status == 503)
        done = helm_test(rendered["objects"], f"http://127.0.0.1:{pod.port}")

        assert done.returncode == 1
        assert "shutting down" in done.stderr
        assert pod.exit_code() == 0


def test_the_runtime_of_kserve_serves_both_protocols(tmp_path: Path) -> None:
    port = free_port()
    paths = {"{{.Name}}": "prices", "/mnt/models": model_in(tmp_path / "m"), "8080": str(port)}
    with Container(CONTAINER, tmp_path / "pod", port, paths) as pod:
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            wait_until(lambda probe=probe: pod.answers(CONTAINER[probe]), what=probe)
        ready = pod.get("/v1/models/prices").json
        infer = {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [10]}]}

        assert (ready["name"], ready["ready"]) == ("prices", True)
        assert post(pod, "/v1/models/prices:predict", {"instances": [[10]]})["predictions"]
        [output] = post(pod, "/v2/models/prices/infer", infer)["outputs"]
        assert output["data"] == [31]
        assert pod.get("/metrics").status == 200
        pod.signal()
        assert pod.exit_code() == 0


def post(pod: Container, path: str, document: Object) -> Any:
    request = urllib.request.Request(
        f"http://127.0.0.1:{pod.port}{path}",
        json.dumps(document).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)
