"""What the tests of `deploy/` share: Helm, the schemas of Kubernetes, custom resources, checkov."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

CHECKOUT = Path(__file__).parents[2]
CHART = CHECKOUT / "deploy" / "helm"
KSERVE = CHECKOUT / "deploy" / "kserve"
PAGE = CHECKOUT / "docs" / "kubernetes.md"
BIN = CHECKOUT / ".deploy" / "bin"
# The oldest version that the chart allows, and the newest that is known.
VERSIONS = ("1.27", "1.37")

needs_helm = pytest.mark.skipif(
    not (CHECKOUT / ".deploy" / "deploy.stamp").exists(),
    reason="Helm's library and checkov are not installed: make deploy-test",
)
needs_definitions = pytest.mark.skipif(
    not os.environ.get("CRD_SCHEMAS"),
    reason="CRD_SCHEMAS is not set to a folder with definitions of custom resources: "
    "docs/kubernetes.md says how to get them",
)

Object = dict[str, Any]


def helm(call: str, **arguments: Any) -> Any:
    """Return what a function of `with_helm.py` returns."""
    done = subprocess.run(
        [str(BIN / "python"), str(Path(__file__).with_name("with_helm.py"))],
        input=json.dumps({"call": call, **arguments}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def render(values: Object | None = None, namespace: str = "ml") -> list[Object]:
    """Return the objects that `helm install prices` makes in a namespace."""
    files = helm("render", chart=str(CHART), values=values or {}, namespace=namespace)
    assert "error" not in files, files
    return [each for name, text in files.items() if "NOTES" not in name for each in objects(text)]


def objects(text: str) -> list[Object]:
    return [each for each in yaml.safe_load_all(text) if each]


def kind(name: str, among: list[Object]) -> Object:
    """Return the only object of a kind."""
    [found] = [each for each in among if each["kind"] == name]
    return found


def is_custom(each: Object) -> bool:
    return each["apiVersion"].partition("/")[0] in CUSTOM_GROUPS


CUSTOM_GROUPS = ("serving.kserve.io", "keda.sh", "monitoring.coreos.com")


def faults_of_custom(each: Object) -> list[str]:
    """Return what is wrong with a custom resource, an unknown key too."""
    schema = definitions(Path(os.environ["CRD_SCHEMAS"]))[each["apiVersion"], each["kind"]]
    return [
        f"{each['kind']}: {'.'.join(map(str, error.absolute_path))}: {error.message}"
        for error in Draft202012Validator(schema).iter_errors(each)
    ]


@cache
def definitions(folder: Path) -> dict[tuple[str, str], Object]:
    """Return the schemas in a folder by apiVersion and kind.

    A file is a CustomResourceDefinition in YAML or JSON, or has `group`, `kind`, and `versions`
    with the schema of each.
    """
    files = [path for path in sorted(folder.iterdir()) if path.suffix in (".json", ".yaml", ".yml")]
    found = [each for path in files for each in objects(path.read_text())]
    return {key: strict(schema) for each in found for key, schema in schemas_of(each)}


def schemas_of(definition: Object) -> Iterator[tuple[tuple[str, str], Object]]:
    if definition.get("kind") == "CustomResourceDefinition":
        spec = definition["spec"]
        for each in spec["versions"]:
            key = f"{spec['group']}/{each['name']}", spec["names"]["kind"]
            yield key, each["schema"]["openAPIV3Schema"]
    elif "versions" in definition:
        for version, schema in definition["versions"].items():
            yield (f"{definition['group']}/{version}", definition["kind"]), schema


def strict(schema: Any) -> Any:
    """Return a schema that rejects unknown keys, which Kubernetes would drop without a word."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items()}
    is_open = made.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in made
    if isinstance(made.get("properties"), dict) and made.get("type") == "object" and not is_open:
        made["additionalProperties"] = False
    return made


def findings(folder: Path) -> set[tuple[str, str]]:
    """Return what checkov finds in the files of a folder: a number, and the kind of the object."""
    command = [str(BIN / "checkov"), "--directory", str(folder), "--framework", "kubernetes"]
    done = subprocess.run(
        [*command, "--skip-download", "--compact", "--output", "json"],
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(done.stdout)
    assert report["summary"]["parsing_errors"] == 0, report
    assert report["summary"]["passed"] > 100
    failed = report["results"]["failed_checks"]
    return {(each["check_id"], each["resource"].partition(".")[0]) for each in failed}
