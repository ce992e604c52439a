"""Write the server's OpenAPI document to openapi/openapi.json, or check that it is up to date."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from server.app import openapi_document  # noqa: E402  # the line above makes it importable
from server.config import BatchingSettings, ModelSettings, Settings  # noqa: E402  # likewise
from server.serving.model_process import ModelProcess  # noqa: E402  # likewise
from server.serving.service import Service  # noqa: E402  # likewise

FILE = ROOT / "openapi" / "openapi.json"
MODEL = ROOT / "model" / "my_best_model.keras"


async def document(model: Path) -> bytes:
    """Return the OpenAPI document of a server with this model file."""
    batching = BatchingSettings(max_rows=1)  # not measured; the document does not depend on it
    service = Service(Settings(model=ModelSettings(path=str(model)), batching=batching))
    await service.start(ModelProcess)
    try:
        made = json.loads(openapi_document(service.model))
        return (json.dumps(made, indent=2, ensure_ascii=False) + "\n").encode()
    finally:
        await service.close()


def same(a: Any, b: Any) -> bool:
    """Return whether two documents are equal; floats may differ slightly between processors."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return math.isclose(a, b, rel_tol=1e-4)
    return bool(a == b)


def main() -> int:
    """Write the file, or with `--check` return 1 if it is out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 if out of date"
    )
    parser.add_argument(
        "--model",
        metavar="FILE",
        type=Path,
        default=MODEL,
        help="model file (default: the example model)",
    )
    arguments = parser.parse_args()
    made = asyncio.run(document(arguments.model))
    if not arguments.check:
        FILE.write_bytes(made)
        return 0
    if FILE.exists() and same(json.loads(FILE.read_bytes()), json.loads(made)):
        return 0
    print(f"{FILE.relative_to(ROOT)} is out of date: run `make spec`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
