"""Write deploy/helm/values.schema.json, or check that it is up to date.

Helm checks values with it before it installs anything. The part of `settings` is made from the
schema with which the service checks its own settings.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any, Final

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from server.config.schema import SCHEMA  # noqa: E402  # the line above makes it importable

FILE = ROOT / "deploy" / "helm" / "values.schema.json"
Schema = dict[str, Any]

TEXT: Final[Schema] = {"type": "string"}
FLAG: Final[Schema] = {"type": "boolean"}
COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
SOME: Final[Schema] = {"type": "integer", "minimum": 1}
PORT: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": 65_535}
# Their content is for Kubernetes to check.
OBJECT: Final[Schema] = {"type": "object"}
LIST: Final[Schema] = {"type": "array"}
TEXTS: Final[Schema] = {"type": "object", "additionalProperties": TEXT}


def section(**properties: Schema) -> Schema:
    """Return the schema of an object with these keys, and no others."""
    return {"type": "object", "properties": properties, "additionalProperties": False}


# Values that are not settings.
VALUES: Final[Schema] = {
    "image": section(
        repository={**TEXT, "minLength": 1},
        tag=TEXT,
        digest={**TEXT, "pattern": "^(sha256:[0-9a-f]{64})?$"},
        pullPolicy={"enum": ["Always", "IfNotPresent", "Never"]},
    ),
    "imagePullSecrets": LIST,
    "replicaCount": COUNT,
    "modelVolume": OBJECT,
    "apiKeys": section(secretName=TEXT, key=TEXT),
    "tls": section(secretName=TEXT),
    "resources": OBJECT,
    "tmpSize": TEXT,
    "podSecurityContext": OBJECT,
    "securityContext": OBJECT,
    "serviceAccount": section(create=FLAG, name=TEXT, annotations=TEXTS),
    "service": section(
        type={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]}, port=PORT, annotations=TEXTS
    ),
    "podDisruptionBudget": section(enabled=FLAG, maxUnavailable={"type": ["integer", "string"]}),
    "autoscaling": section(
        enabled=FLAG,
        minReplicas=SOME,
        maxReplicas=SOME,
        targetCPUUtilizationPercentage=SOME,
        metrics=LIST,
        behavior=OBJECT,
    ),
    "keda": section(
        enabled=FLAG,
        minReplicas=COUNT,
        maxReplicas=SOME,
        serverAddress=TEXT,
        rowsPerPod=SOME,
        query=TEXT,
        pollingInterval=SOME,
        cooldownPeriod=COUNT,
    ),
    "serviceMonitor": section(enabled=FLAG, interval=TEXT, labels=TEXTS, endpoint=OBJECT),
    "networkPolicy": section(**{"enabled": FLAG, "from": LIST, "egress": LIST}),
    "test": section(apiKeySecretName=TEXT, apiKeySecretKey=TEXT),
    "podAnnotations": TEXTS,
    "podLabels": TEXTS,
    "nodeSelector": TEXTS,
    "tolerations": LIST,
    "affinity": OBJECT,
    "priorityClassName": TEXT,
    "topologySpreadConstraints": LIST,
    "initContainers": LIST,
    "extraEnv": LIST,
    "extraVolumes": LIST,
    "extraVolumeMounts": LIST,
    "nameOverride": TEXT,
    "fullnameOverride": TEXT,
    "global": OBJECT,  # Helm gives it to every chart
}


def values_schema() -> Schema:
    """Return the JSON Schema of the values, in draft 7, which all versions of Helm know."""
    settings = for_go(SCHEMA)
    del settings["$schema"]
    keys = settings["properties"]["auth"]["properties"]["api_keys"]
    keys["items"]["anyOf"][0] = {"type": "string", "pattern": "^sha256:[0-9a-fA-F]{64}$"}
    keys["description"] += " Only hashes here: a ConfigMap is no place for a key."
    settings["properties"]["http"]["properties"]["port"]["minimum"] = 1  # the Service must know it
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {"settings": settings, **VALUES},
        "additionalProperties": False,
    }


def for_go(schema: Any) -> Any:
    """Return a schema with the regular expressions that Go knows."""
    if isinstance(schema, list):
        return [for_go(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: for_go(value) for key, value in schema.items()}
    if isinstance(made.get("pattern"), str):
        made |= pattern_for_go(made["pattern"])
    return made


def pattern_for_go(pattern: str) -> Schema:
    r"""Return what a pattern of Python means, for Go (RE2).

    Go has no `\Z`, and no lookahead: what must not be at the beginning becomes a schema with `not`.
    It has no surrogates either, which a file in UTF-8 cannot contain.
    """
    pattern = pattern.replace(r"[^\ud800-\udfff]", r"[\s\S]")
    pattern = pattern.replace(r"\ud800-\udfff", "").replace(r"\Z", "$")
    beginning = re.match(r"\^\(\?!(?P<unwanted>[^()]*)\)", pattern)
    if beginning is None:
        return {"pattern": pattern}
    unwanted = {"pattern": f"^({beginning['unwanted']})"}
    return {"pattern": f"^{pattern[beginning.end() :]}", "not": unwanted}


def main() -> int:
    """Write the file, or with `--check` return 1 if it is out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 if out of date"
    )
    arguments = parser.parse_args()
    made = json.dumps(values_schema(), indent=2, ensure_ascii=False) + "\n"
    if not arguments.check:
        FILE.write_text(made)
        return 0
    if FILE.exists() and FILE.read_text() == made:
        return 0
    print(f"{FILE.relative_to(ROOT)} is out of date: run `make spec`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
