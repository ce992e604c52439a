"""What schemathesis is told besides the published document, each with its reason.

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
    "The input x has the shape",  # of more rows than 64 bits can count
)
UNKNOWN_HEADER = "x-schemathesis-unknown-property"


@schemathesis.hook
def before_load_schema(context: Any, document: dict[str, Any]) -> None:
    """Add to the document what it leaves out on purpose."""
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
    """Say the range of float32: limits in the schema make validating it 200 times slower."""
    if isinstance(schema, dict):
        if schema.get("type") == "number":
            schema.update(minimum=-LARGEST, maximum=LARGEST)
        for part in schema.values():
            limit_numbers(part)
    elif isinstance(schema, list):
        for part in schema:
            limit_numbers(part)


def loosen_tuples(schema: Any) -> None:
    """Say less of answers: schemathesis 4.32 makes `items` of their `prefixItems`, then objects."""
    if isinstance(schema, dict):
        if "prefixItems" in schema:
            del schema["prefixItems"]
        for part in schema.values():
            loosen_tuples(part)
    elif isinstance(schema, list):
        for part in schema:
            loosen_tuples(part)


def leave_out_bytes(content: dict[str, Any]) -> None:
    """Forget bodies in bytes: no schema says what they are; `scripts/fuzz.py` makes them."""
    for media_type in IN_BYTES:
        content.pop(media_type, None)


@schemathesis.hook
def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Tell whether a failure is one, as almost all are."""
    kind = type(failure).__name__
    # A client that gives a request a millisecond, as schemathesis likes to, can be told 504.
    is_late = response.status_code == 504 and is_impatient(case)
    # An unknown header is nobody's fault: HTTP says to let it be, RFC 9110, section 5.1.
    is_curious = kind == "AcceptedNegativeData" and UNKNOWN_HEADER in case.headers
    # TensorFlow Serving's own way to write what is not finite, which no JSON Schema can say.
    is_infinite = kind == "JsonSchemaError" and b"Infinity" in response.content
    # No JSON Schema can say that a tensor has data, in the JSON or behind it, of the shape that it
    # claims.
    is_misshapen = kind == "RejectedPositiveData" and any(
        words in response.text for words in MISSHAPEN
    )
    return not (is_late or is_curious or is_infinite or is_misshapen)


def is_impatient(case: Any) -> bool:
    """Tell whether a request says how long it may take."""
    body = case.body if isinstance(case.body, dict) else {}
    return "X-Request-Timeout-Ms" in case.headers or "timeout" in body.get("parameters", {})
