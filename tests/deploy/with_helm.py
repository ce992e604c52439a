"""Helm and kubernetes-validate for the tests of `deploy/`; run it with the Python of `.deploy`.

Takes one request in JSON on standard input, and writes the answer in JSON. An error of Helm is
`{"error": …}`.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import helm_python
import kubernetes_validate


def render(chart: str, values: dict[str, Any], namespace: str) -> dict[str, str]:
    """Return the files that `helm install prices CHART` makes, by name."""
    with helm_python.Chart.load(chart) as loaded:
        loaded.validate_schema(values)
        return loaded.render(values, name="prices", namespace=namespace)


def lint(chart: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what `helm lint --strict` says."""
    return helm_python.lint(chart, values, strict=True)["messages"]


def rejected(chart: str, cases: list[dict[str, Any]]) -> list[str]:
    """Return why Helm rejects each of these values, "" for those that it takes."""
    with helm_python.Chart.load(chart) as loaded:
        return [why_rejected(loaded, values) for values in cases]


def why_rejected(chart: Any, values: dict[str, Any]) -> str:
    try:
        chart.validate_schema(values)
    except helm_python.HelmError as error:
        return str(error)
    return ""


def faults(objects: list[dict[str, Any]], versions: list[str]) -> list[str]:
    """Return what is wrong with objects of Kubernetes itself, in these versions of it."""
    found = []
    for version in versions:
        for each in objects:
            name = f"{each['kind']} in {version}"
            try:
                kubernetes_validate.validate(each, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                found.append(f"{name}: {'.'.join(map(str, error.path))}: {error.message}")
            except kubernetes_validate.SchemaNotFoundError:
                found.append(f"{name}: unknown kind")
    return found


CALLS = {"render": render, "lint": lint, "rejected": rejected, "faults": faults}

if __name__ == "__main__":
    request = json.load(sys.stdin)
    try:
        answer: Any = CALLS[request.pop("call")](**request)
    except helm_python.HelmError as error:
        answer = {"error": str(error)}
    json.dump(answer, sys.stdout)
