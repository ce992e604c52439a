"""Exceptions from the published document for schemathesis, each with its reason.

`SCHEMATHESIS_HOOKS=tests.process.schemathesis_hooks schemathesis run …` loads it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import schemathesis

LARGEST = float(np.finfo(np.float32).max)
IN_BYTES = ("application/octet-stream", "application/x-npy")
MISSHAPEN = (
    *("The data of x", "The shape of x needs", "The input x has no data"),
    "The input x has the shape",  # more rows than a 64-bit integer can count
)
UNKNOWN_HEADER = "x-schemathesis-unknown-property"


@schemathesis.hook
def before_load_schema(context: Any, document: dict[str, Any]) -> None:
    """Change the parts of the document that schemathesis cannot use as they are."""
    schemas = document["components"]["schemas"]
    for name, schema in schemas.items():
        if name.endswith("Request"):
            limit_numbers(schema)
        else:
            loosen_tuples(schema)
    for path in document["paths"].values():
        for operation in path.values():
            if isinstance(operation, dict) and "requestBody" in operation:
                leave_out_bytes(operation["requestBody"]["content"])


def limit_numbers(schema: Any) -> None:
    """Add the range of float32; the server omits it, as it makes validation 200 times slower."""
    if isinstance(schema, dict):
        if schema.get("type") == "number":
            schema.update(minimum=-LARGEST, maximum=LARGEST)
        for part in schema.values():
            limit_numbers(part)
    elif isinstance(schema, list):
        for part in schema:
            limit_numbers(part)


def loosen_tuples(schema: Any) -> None:
    """Remove `prefixItems`: schemathesis 4.32 turns it into `items` and then expects objects."""
    if isinstance(schema, dict):
        if "prefixItems" in schema:
            del schema["prefixItems"]
        for part in schema.values():
            loosen_tuples(part)
    elif isinstance(schema, list):
        for part in schema:
            loosen_tuples(part)


def leave_out_bytes(content: dict[str, Any]) -> None:
    """Remove binary bodies: no schema describes them; `scripts/fuzz.py` tests them."""
    for media_type in IN_BYTES:
        content.pop(media_type, None)


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Return whether a failure counts; a few do not."""
    kind = type(failure).__name__
    # A request with a timeout of a millisecond, which schemathesis sends, may be answered with 504.
    is_late = response.status_code == 504 and is_impatient(case)
    # A server must ignore unknown headers: RFC 9110, section 5.1.
    is_curious = kind == "AcceptedNegativeData" and UNKNOWN_HEADER in case.headers
    # TensorFlow Serving writes NaN and Infinity as they are, which no JSON Schema can express.
    is_infinite = kind == "JsonSchemaError" and b"Infinity" in response.content
    # No JSON Schema can require that the data of a tensor, in or after the JSON, match its shape.
    is_misshapen = kind == "RejectedPositiveData" and any(
        words in response.text for words in MISSHAPEN
    )
    return not (is_late or is_curious or is_infinite or is_misshapen)


def is_impatient(case: Any) -> bool:
    """Return whether a request has a timeout."""
    body = case.body if isinstance(case.body, dict) else {}
    return "X-Request-Timeout-Ms" in case.headers or "timeout" in body.get("parameters", {})
