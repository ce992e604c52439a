"""The chart in `deploy/helm/`, rendered by Helm, each object checked against its schema."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from server.config import ConfigError, Settings, load_settings
from server.config.schema import SETTINGS, check
from server.monitoring import metrics
from tests.deploy.cluster import (
    CHART,
    PAGE,
    VERSIONS,
    Object,
    faults_of_custom,
    findings,
    helm,
    is_custom,
    kind,
    needs_definitions,
    needs_helm,
    render,
)

pytestmark = [needs_helm, pytest.mark.timeout(300)]

DIGEST = f"sha256:{'0123456789abcdef' * 4}"
KEY = {"name": "shop", "sha256": "ab" * 32, "allow": ["predict"]}
CASES: dict[str, Object] = {
    "default": {},
    "hpa": {
        "modelVolume": {"persistentVolumeClaim": {"claimName": "models"}},
        "autoscaling": {
            "enabled": True,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {
                        "name": "memory",
                        "target": {"type": "Utilization", "averageUtilization": 80},
                    },
                }
            ],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 600}},
        },
        "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "networkPolicy": {"enabled": True},
        "tls": {"secretName": "certificate"},
        "apiKeys": {"secretName": "keys"},
        "test": {"apiKeySecretName": "key-of-the-test"},
    },
    "keda": {
        "keda": {"enabled": True},
        "serviceMonitor": {
            "enabled": True,
            "endpoint": {"authorization": {"credentials": {"name": "key", "key": "api-key"}}},
        },
        "networkPolicy": {
            "enabled": True,
            "from": [{"namespaceSelector": {"matchLabels": {"team": "shop"}}}],
            "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}],
        },
    },
    "other": {
        "image": {"repository": "registry.example/ml/server", "digest": DIGEST},
        "imagePullSecrets": [{"name": "registry"}],
        "replicaCount": 1,
        "podDisruptionBudget": {"enabled": False},
        "serviceAccount": {"create": False, "name": "other"},
        "fullnameOverride": "other",
        "service": {"type": "LoadBalancer", "port": 8080, "annotations": {"a.example/b": "c"}},
        "settings": {
            "models": [{"name": "prices", "path": "/models/prices"}],
            "auth": {"api_keys": [KEY]},
            "http": {"host": "::", "port": 9000},
        },
        "podSecurityContext": {"runAsUser": None},
        "initContainers": [{"name": "fetch", "image": "registry.example/fetch:1"}],
        "extraVolumes": [{"name": "models", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "models", "mountPath": "/models"}],
        "extraEnv": [{"name": "PYTHONPATH", "value": "/app:/models"}],
        "nodeSelector": {"kubernetes.io/arch": "amd64"},
        "tolerations": [{"key": "ml", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "high",
        "podLabels": {"team": "ml"},
        "podAnnotations": {"sidecar.istio.io/inject": "false"},
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "DoNotSchedule",
            }
        ],
    },
}
ALWAYS = {"ConfigMap", "Deployment", "Service", "Pod"}
KINDS = {
    "default": ALWAYS | {"ServiceAccount", "PodDisruptionBudget"},
    "hpa": ALWAYS
    | {"ServiceAccount", "PodDisruptionBudget", "HorizontalPodAutoscaler", "NetworkPolicy"}
    | {"ServiceMonitor"},
    "keda": ALWAYS
    | {"ServiceAccount", "PodDisruptionBudget", "ScaledObject", "NetworkPolicy", "ServiceMonitor"},
    "other": ALWAYS,
}


@pytest.fixture(scope="module")
def rendered() -> dict[str, list[Object]]:
    """The objects of each case, in a namespace of its own."""
    return {name: render(values, f"ns-{name}") for name, values in CASES.items()}


def pod_of(objects: list[Object]) -> Any:
    return kind("Deployment", objects)["spec"]["template"]["spec"]


def container_of(objects: list[Object]) -> Any:
    [container] = pod_of(objects)["containers"]
    return container


def settings_in(objects: list[Object], folder: Path, **variables: str) -> Settings:
    """Return what the service reads from the ConfigMap."""
    file = folder / "config.yaml"
    file.write_text(kind("ConfigMap", objects)["data"]["config.yaml"])
    return load_settings(["--config", str(file)], variables, folder)


@pytest.mark.parametrize("case", CASES)
def test_helm_has_nothing_to_say(case: str) -> None:
    messages = helm("lint", chart=str(CHART), values=CASES[case])

    assert [each["error"] for each in messages] == ["icon is recommended"]


@pytest.mark.parametrize("case", CASES)
def test_a_case_has_these_objects(rendered: dict[str, list[Object]], case: str) -> None:
    assert {each["kind"] for each in rendered[case]} == KINDS[case]
    assert len(rendered[case]) == len(KINDS[case])
    assert {each["metadata"]["namespace"] for each in rendered[case]} == {f"ns-{case}"}


@pytest.mark.parametrize("case", CASES)
def test_objects_of_kubernetes_are_valid(rendered: dict[str, list[Object]], case: str) -> None:
    own = [each for each in rendered[case] if not is_custom(each)]

    assert helm("faults", objects=own, versions=VERSIONS) == []


def test_an_invalid_object_is_noticed(rendered: dict[str, list[Object]]) -> None:
    service = kind("Service", rendered["default"])
    wrong = service | {"spec": {"selectors": {}}}

    assert len(helm("faults", objects=[wrong], versions=VERSIONS)) == len(VERSIONS)


@needs_definitions
@pytest.mark.parametrize("case", CASES)
def test_custom_resources_are_valid(rendered: dict[str, list[Object]], case: str) -> None:
    custom = [each for each in rendered[case] if is_custom(each)]

    assert [fault for each in custom for fault in faults_of_custom(each)] == []


def test_the_service_reads_the_settings(rendered: dict[str, list[Object]], tmp_path: Path) -> None:
    default = settings_in(rendered["default"], tmp_path)
    hpa = settings_in(rendered["hpa"], tmp_path)
    other = settings_in(rendered["other"], tmp_path)

    assert (default.model, default.http.drain_grace_ms) == (Settings().model, 5000)
    assert (hpa.model.path, hpa.http.tls_cert) == ("/mnt/models", "/etc/tls/tls.crt")
    assert [each.path for each in other.models] == ["/models/prices"]
    assert other.auth.api_keys[0].name == "shop"


def test_every_setting_arrives_as_it_is(tmp_path: Path) -> None:
    given: dict[str, Any] = {}
    for item in SETTINGS:
        default = item.default
        if isinstance(default, tuple):  # as lists, and mappings by name, are kept
            default = {} if item.schema.get("type") == "object" else list(default)
        section = given.setdefault(item.section, {}) if item.section else given
        section[item.key] = default

    assert settings_in(render({"settings": given}), tmp_path) == Settings()


@pytest.mark.parametrize(
    "http, seconds",
    [
        ({}, 50),
        ({"drain_grace_ms": 1500.5, "drain_timeout_s": 2.2}, 19),
        ({"drain_grace_ms": 0, "drain_timeout_s": 0}, 15),
        (None, 46),  # the defaults of the service: a second, and 30
    ],
)
def test_kubernetes_waits_for_the_shutdown(http: Object | None, seconds: int) -> None:
    pod = pod_of(render({"settings": {"http": http}}))

    assert pod["terminationGracePeriodSeconds"] == seconds
    settings = Settings()
    assert (settings.http.drain_grace_ms, settings.http.drain_timeout_s) == (1000, 30)


def test_a_roll_out_waits_for_the_longest_start() -> None:
    def deadline(**settings: Any) -> object:
        return kind("Deployment", render({"settings": settings}))["spec"]["progressDeadlineSeconds"]

    assert deadline() == Settings().model.load_timeout_s + 60
    assert deadline(model={"load_timeout_s": 30.5}) == 91


def test_the_pods_are_replaced_when_the_settings_change() -> None:
    def checksum(values: Object) -> object:
        template = kind("Deployment", render(values))["spec"]["template"]
        return template["metadata"]["annotations"]["checksum/settings"]

    assert checksum({"replicaCount": 5}) == checksum({})
    assert checksum({"settings": {"logging": {"level": "debug"}}}) != checksum({})
    assert checksum({"tls": {"secretName": "certificate"}}) != checksum({})


def test_three_probes(rendered: dict[str, list[Object]]) -> None:
    paths = {"startup": "live", "liveness": "live", "readiness": "ready"}
    for case, scheme in (("default", "HTTP"), ("hpa", "HTTPS")):
        container = container_of(rendered[case])
        for probe, path in paths.items():
            asked = {"path": f"/v2/health/{path}", "port": "http", "scheme": scheme}
            assert container[f"{probe}Probe"]["httpGet"] == asked


def test_the_port_follows_the_settings(rendered: dict[str, list[Object]]) -> None:
    for case, port in (("default", 8888), ("other", 9000)):
        assert container_of(rendered[case])["ports"][0]["containerPort"] == port


def test_the_image_may_have_a_digest(rendered: dict[str, list[Object]]) -> None:
    assert container_of(rendered["other"])["image"] == f"registry.example/ml/server@{DIGEST}"


def test_the_number_of_pods_is_left_to_an_autoscaler(rendered: dict[str, list[Object]]) -> None:
    replicas = {case: kind("Deployment", rendered[case])["spec"].get("replicas") for case in CASES}

    assert replicas == {"default": 2, "hpa": None, "keda": None, "other": 1}


def test_two_autoscalers_are_refused() -> None:
    both = {"autoscaling": {"enabled": True}, "keda": {"enabled": True}}
    answer = helm("render", chart=str(CHART), values=both, namespace="ml")

    assert "autoscaling.enabled and keda.enabled: use one of them" in answer["error"]


def test_keda_asks_for_a_metric_that_there_is(rendered: dict[str, list[Object]]) -> None:
    [trigger] = kind("ScaledObject", rendered["keda"])["spec"]["triggers"]

    assert trigger["metadata"]["query"] == (
        'sum(avg_over_time(predict_queue_rows{namespace="ns-keda", '
        'service="prices-keras-batch-server"}[1m]))'
    )
    assert '"predict_queue_rows"' in Path(metrics.__file__).read_text()


WRONG: list[Object] = [
    {"http": {"prot": 8888}},
    {"http": {"port": 65_536}},
    {"http": {"port": "8888"}},
    {"http": {"host": ""}},
    {"http": {"cors_origins": ["https://example.org:443"]}},
    {"http": {"root_path": "models"}},
    {"batching": {"max_rows": 0}},
    {"model": {"name": "a/b"}},
    {"model": {"sha256": "abc"}},
    {"model": {"engine": "torch"}},
    {"models": [{"name": "a"}]},
    {"logging": {"access_skip": ["metrics"]}},
    {"auth": {"api_keys": [KEY | {"allow": []}]}},
    {"predict": 1},
    {"models_strict": "yes"},
]
RIGHT: list[Object] = [
    {},
    {"http": None},
    {"http": {"cors_origins": ["https://example.org", "http://localhost:3000"]}},
    {"http": {"root_path": "/a/b", "host": "::, 127.0.0.1"}},
    {"batching": {"max_rows": "auto"}},
    {"model": {"name": "Häuser", "sha256": "ab" * 32, "hang_timeout_s": 0.5}},
    {"models": [{"path": "a.keras", "allow_code": True}]},
    {"auth": {"api_keys": [KEY, f"sha256:{'ab' * 32}"]}},
]


def is_valid(settings: Object) -> bool:
    """Return whether the service takes these settings."""
    try:
        check(settings, str)
    except ConfigError:
        return False
    return True


def test_helm_rejects_what_the_service_rejects() -> None:
    values = [{"settings": each} for each in WRONG + RIGHT]
    reasons = helm("rejected", chart=str(CHART), cases=values)

    assert [is_valid(each) for each in WRONG + RIGHT] == [not reason for reason in reasons]
    assert sum(map(bool, reasons)) == len(WRONG)


def test_helm_rejects_what_it_alone_must() -> None:
    cases: list[Object] = [
        {"settings": {"auth": {"api_keys": ["a-key-in-clear-text"]}}},
        {"settings": {"http": {"port": 0}}},
        {"replicas": 3},
        {"image": {"digest": "abc"}},
        {"podSecurityContext": None, "replicaCount": -1},
    ]

    assert all(helm("rejected", chart=str(CHART), cases=cases))


def documented_findings() -> set[tuple[str, str]]:
    """Return the rows of the table of findings in docs/kubernetes.md."""
    rows = re.findall(r"^\| `(CKV\w+)`[^|]*\| ([^|]+) \| [^|]+ \|$", PAGE.read_text(), re.MULTILINE)
    return {(number, each) for number, kinds in rows for each in kinds.split(", ")}


def test_checkov_finds_only_what_is_explained(
    rendered: dict[str, list[Object]], tmp_path: Path
) -> None:
    for case in ("default", "hpa", "keda"):
        (tmp_path / f"{case}.yaml").write_text(yaml.safe_dump_all(rendered[case]))

    assert findings(tmp_path) == documented_findings()


def test_values_in_the_documentation_are_taken() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    values = [yaml.safe_load(each) for each in blocks]

    assert len(values) > 2
    assert helm("rejected", chart=str(CHART), cases=values) == [""] * len(values)
    for each in values:
        own = [made for made in render(each) if not is_custom(made)]
        assert helm("faults", objects=own, versions=VERSIONS) == []
