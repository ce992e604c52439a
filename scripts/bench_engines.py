"""Times eight networks with random weights on every engine, as `model.engine: auto` does.

The table has, for calls of 1, 8 and 32 rows, the time as a part of TensorFlow's; all engines of a
network are timed in turn. `python scripts/bench_engines.py [NAME ...]`
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from model.engines.choose import TENSORFLOW, Choice, choose
from model.process.prepare import Conversion, LoadRequest
from scripts.measurements.models import NETWORKS, save_network
from server.serving.engines import CANDIDATES
from server.serving.model_process import ModelProcess

MAX_ROWS = 32
OPENVINO = "openvino"
HEAD = "| network | engine | 1 row | 8 rows | 32 rows | score | |\n|---|---|---|---|---|---|---|"


def main(arguments: list[str]) -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="*", default=list(NETWORKS), help="; ".join(NETWORKS))
    print(HEAD)
    for name in parser.parse_args(arguments).name:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "m.keras"
            # TensorFlow is gone from memory before the engines are timed.
            saving = get_context("spawn").Process(target=save_network, args=(name, path))
            saving.start()
            saving.join()
            choice = asyncio.run(tried(path, str(Path(folder) / "new")))
        print("\n".join(lines(name, choice)), flush=True)


async def tried(path: Path, folder: str) -> Choice:
    """Try all engines with a model."""
    process = ModelProcess(path.stem)
    try:
        conversion = Conversion(CANDIDATES, folder)
        request = LoadRequest(str(path), max_rows=MAX_ROWS, conversion=conversion)
        return await process.convert(request, 3600)
    finally:
        await process.close()


def lines(name: str, choice: Choice) -> Iterator[str]:
    """Yield a line for each engine."""
    base = choice.timings[TENSORFLOW].seconds
    for engine in (TENSORFLOW, *CANDIDATES):
        timing = choice.timings.get(engine)
        if timing is None:
            yield f"| {name} | {engine} | | | | | {choice.reasons[engine]} |"
            continue
        times = [
            f"{1000 * seconds:.3g} ms" if engine == TENSORFLOW else f"{seconds / base[rows]:.2f}"
            for rows, seconds in timing.seconds.items()
        ]
        said = chosen(choice) if engine == choice.engine else choice.reasons.get(engine, "")
        yield f"| {name} | {engine} | {' | '.join(times)} | {timing.score:.2f} | {said} |"


def chosen(choice: Choice) -> str:
    """Say that an engine is chosen, and which one is where the optional OpenVINO is missing."""
    if choice.engine != OPENVINO:
        return "**chosen**"
    timings = {name: each for name, each in choice.timings.items() if name != OPENVINO}
    return f"**chosen**; without OpenVINO {choose(timings, {}).engine}"


if __name__ == "__main__":
    main(sys.argv[1:])
