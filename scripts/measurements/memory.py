"""Memory of the service, beyond that of TensorFlow and the model."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from scripts.comparison.venvs import ROOT
from scripts.measurements.figure import Figure
from scripts.measurements.serving import serving

MOST_MIB = 60.0
ROWS = 1024
BARE = """
import sys
import keras, numpy as np, tensorflow as tf
model = keras.saving.load_model(sys.argv[1], compile=False)
call = tf.function(lambda x: model(x, training=False)).get_concrete_function(
    tf.TensorSpec([None, *model.input_shape[1:]]))
call(tf.constant(np.zeros((int(sys.argv[2]), *model.input_shape[1:]), np.float32)))
import resource
print(int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize())
"""


def run(example: Path, rounds: int, seconds: float) -> Figure:
    """Compare the memory after warm-up with that of a process that calls the model once."""
    pairs = []
    for _ in range(rounds):
        bare = _bare(example)
        with serving(example) as server:
            time.sleep(seconds)
            pairs.append((server.rss(), bare))
    added = median(served - bare for served, bare in pairs) / 2**20
    served, bare = (median(column) / 2**20 for column in zip(*pairs, strict=True))
    return Figure(
        "memory after warm-up, minus that of a process that calls the model once",
        f"{added:.0f} MiB ({served:.0f} - {bare:.0f})",
        f"at most {MOST_MIB:g} MiB",
        added <= MOST_MIB,
    )


def _bare(example: Path) -> int:
    done = subprocess.run(  # noqa: S603  # the program above
        [sys.executable, "-c", BARE, str(example), str(ROWS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout.split()[-1])
