"""The built image, run as orchestrators run it: any user, read-only root, models in /mnt/models.

`make image-test` builds both targets and runs this.
"""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import onnx
import pytest

from scripts import image as images
from tests.model.formats import onnx_files
from tests.process.harness import CHECKOUT, wait_until
from tests.support.container_image import EXAMPLE, FINAL
from tests.support.running_image import MODELS, Container, config_of, container

pytestmark = [pytest.mark.torture, pytest.mark.process, pytest.mark.timeout(600)]

CERT, KEY = (CHECKOUT / "tests" / "data" / name for name in ("tls.crt", "tls.key"))
CHECK: Final = json.loads(FINAL.last("HEALTHCHECK").partition("CMD ")[2])
EXPORT: Final = "import keras, sys; keras.saving.load_model(sys.argv[1]).export(sys.argv[2])"
MEGABYTES: Final = {"default": 1_400, "slim": 300}  # of /venv and /app; the base image comes on top
LINE: Final = ([10], 31)
HEALTHY_WITHIN_S: Final = 400.0  # on a machine with other things to do
DENSE: Final = ([1, 2, 3], [5, 9])


@pytest.fixture(scope="module")
def engine() -> str:
    try:
        return images.working_engine()
    except images.NoEngine as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def image(engine: str) -> Callable[[str], str]:
    """A function that returns the name of the image of a target."""

    def named(target: str) -> str:
        if config_of(engine, images.TARGETS[target]) is None:
            pytest.skip(f"{images.TARGETS[target]} is not built: make image-test")
        return images.TARGETS[target]

    return named


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """The folder that is mounted; every user can read it."""
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


def one_file(models: Path) -> None:
    shutil.copy(EXAMPLE, models / "line.keras")


def versions(models: Path) -> None:
    for version in ("1", "2"):
        (models / version).mkdir()
        shutil.copy(EXAMPLE, models / version / "model.keras")


def saved_model(models: Path) -> None:
    command = [sys.executable, "-c", EXPORT, str(EXAMPLE), str(models)]
    subprocess.run(command, check=True, capture_output=True)


def onnx_file(models: Path) -> None:
    onnx.save(onnx_files.dense(), str(models / "dense.onnx"))


def onnx_versions(models: Path) -> None:
    for version in ("1", "2"):
        (models / version).mkdir()
        onnx_file(models / version)


def ready(running: Container) -> None:
    """Wait until the image's own health check succeeds."""
    wait_until(lambda: running.run(CHECK).returncode == 0, HEALTHY_WITHIN_S, "healthy")


def predict(running: Container, data: object, *, tls: bool = False) -> Any:
    context = ssl.create_default_context(cafile=CERT) if tls else None
    handlers: list[Any] = [urllib.request.ProxyHandler({})]
    handlers += [urllib.request.HTTPSHandler(context=context)] if tls else []
    request = urllib.request.Request(
        f"http{'s' if tls else ''}://localhost:{running.port}/predict",
        data=json.dumps({"data": data}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.build_opener(*handlers).open(request) as response:
        return json.load(response)["prediction"]


@pytest.mark.parametrize(
    "target, fill, asked",
    [
        ("default", one_file, LINE),
        ("default", versions, LINE),
        ("default", saved_model, LINE),
        ("default", onnx_file, DENSE),
        ("slim", onnx_file, DENSE),
        ("slim", onnx_versions, DENSE),
    ],
)
def test_it_serves_what_is_mounted_and_stops_as_the_first_process(
    engine: str,
    image: Callable[[str], str],
    models: Path,
    target: str,
    fill: Callable[[Path], None],
    asked: tuple[object, object],
) -> None:
    """On a read-only root, as a user that the image does not know, without a home folder."""
    fill(models)
    data, expected = asked

    with container(engine, image(target), models, MODELS) as running:
        ready(running)

        assert predict(running, data) == pytest.approx(expected, abs=0.1)
        assert running.run(["sh", "-c", "echo > /app/config.yaml"]).returncode != 0
        assert running.run(["cat", "/proc/1/cmdline"]).stdout.startswith("python\0-P\0-m\0server")
        assert running.stop() == 0


@pytest.mark.parametrize("user", ["65532:65532", "1000660000:0"])
def test_the_example_model_is_served_to_any_user(
    engine: str, image: Callable[[str], str], models: Path, user: str
) -> None:
    """The second one is how OpenShift chooses users."""
    with container(engine, image("default"), models, user=user) as running:
        ready(running)

        assert predict(running, [10]) == pytest.approx(31, abs=0.1)
        assert running.stop() == 0


def test_the_health_check_goes_by_the_certificate(
    engine: str, image: Callable[[str], str], models: Path
) -> None:
    for file in (CERT, KEY):
        shutil.copy(file, models)
        (models / file.name).chmod(0o644)
    settings = {
        "SERVER_HTTP__TLS_CERT": f"{MODELS}/{CERT.name}",
        "SERVER_HTTP__TLS_KEY": f"{MODELS}/{KEY.name}",
    }
    example = json.loads(FINAL.last("CMD"))

    with container(engine, image("default"), models, *example, environment=settings) as running:
        assert running.run(CHECK).returncode == 1  # it is not ready yet
        ready(running)

        assert predict(running, [10], tls=True) == pytest.approx(31, abs=0.1)
        assert running.stop() == 0


def test_slim_has_no_tensorflow_and_says_so(
    engine: str, image: Callable[[str], str], models: Path
) -> None:
    one_file(models)

    with container(engine, image("slim"), models) as running:
        wait_until(lambda: "needs TensorFlow, which is not installed here" in running.log())
        assert running.stop() == 2


@pytest.mark.parametrize("target", images.TARGETS)
def test_its_size(engine: str, image: Callable[[str], str], models: Path, target: str) -> None:
    """Of what is added to the base image; nothing that was removed later takes space in a layer."""
    onnx_file(models)

    with container(engine, image(target), models, MODELS) as running:
        ready(running)
        counted = running.run(["du", "-sm", "/venv", "/app"]).stdout.splitlines()

        assert sum(int(line.split()[0]) for line in counted) < MEGABYTES[target]
