"""The files in `deploy/kserve/`: valid, and the runtime's command serves V1 and V2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from server.monitoring import metrics
from tests.deploy.cluster import (
    KSERVE,
    Object,
    definitions,
    faults_of_custom,
    helm,
    needs_definitions,
    needs_helm,
    objects,
)

FILES = sorted(KSERVE.glob("*.yaml"))
[RUNTIME] = objects((KSERVE / "cluster-serving-runtime.yaml").read_text())
[CONTAINER] = RUNTIME["spec"]["containers"]
SERVICES = [objects(file.read_text())[0] for file in FILES if "service" in file.name]


@needs_definitions
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_is_valid(file: Path) -> None:
    [each] = objects(file.read_text())

    assert faults_of_custom(each) == []


@needs_definitions
def test_an_unknown_key_is_noticed() -> None:
    wrong = RUNTIME | {"spec": RUNTIME["spec"] | {"protocols": ["v1"]}}

    assert "'protocols' was unexpected" in faults_of_custom(wrong)[0]


def test_definitions_are_read_as_projects_publish_them(tmp_path: Path) -> None:
    """From a CustomResourceDefinition, as `kubectl get crd NAME --output yaml` prints it."""
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {}}}}
    definition = {
        "kind": "CustomResourceDefinition",
        "spec": {
            "group": "a.example",
            "names": {"kind": "Thing"},
            "versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}],
        },
    }
    (tmp_path / "thing.yaml").write_text(yaml.safe_dump(definition))
    [read] = [definitions(tmp_path)["a.example/v1", "Thing"]]

    assert read["properties"]["spec"]["additionalProperties"] is False


@needs_helm
def test_the_container_is_one_of_kubernetes() -> None:
    """Its definition in KServe allows more than Kubernetes does."""
    spec = {"containers": [CONTAINER], "volumes": RUNTIME["spec"]["volumes"]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": spec}

    assert helm("faults", objects=[pod], versions=["1.27", "1.37"]) == []


def test_the_shutdown_is_shorter_than_kubernetes_waits() -> None:
    default = {each["name"]: each["value"] for each in CONTAINER["env"]}
    for service in SERVICES:
        predictor = service["spec"]["predictor"]
        own = {each["name"]: each["value"] for each in predictor["model"].get("env", [])}
        env = default | own
        grace_s = float(env["SERVER_HTTP__DRAIN_GRACE_MS"]) / 1000
        longest_s = grace_s + float(env["SERVER_HTTP__DRAIN_TIMEOUT_S"])
        assert longest_s < predictor.get("terminationGracePeriodSeconds", 30)


def test_the_services_find_the_runtime() -> None:
    formats = RUNTIME["spec"]["supportedModelFormats"]
    for service in SERVICES:
        model: Object = service["spec"]["predictor"]["model"]
        fitting = [each for each in formats if model["modelFormat"].items() <= each.items()]
        assert fitting
        assert model.get("runtime") == RUNTIME["metadata"]["name"] or fitting[0]["autoSelect"]
        assert model.get("protocolVersion", "v1") in RUNTIME["spec"]["protocolVersions"]


def test_keda_asks_for_a_metric_that_there_is() -> None:
    [scaling] = [
        each["spec"]["predictor"]["autoScaling"]
        for each in SERVICES
        if "autoScaling" in each["spec"]["predictor"]
    ]
    [metric] = scaling["metrics"]
    query: Any = metric["external"]["metric"]["query"]

    assert query.startswith("sum(avg_over_time(predict_queue_rows{")
    assert '"predict_queue_rows"' in Path(metrics.__file__).read_text()
