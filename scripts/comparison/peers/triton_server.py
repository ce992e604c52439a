"""NVIDIA Triton Inference Server from the PyTriton package, with its Python backend.

Run as `python -m scripts.comparison.peers.triton_server PORT FOLDER [network]`. It writes a model
repository with one model into the folder, and then executes `tritonserver`. The model takes and
answers one number, or with `network` what `network_call.facts` says.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from pathlib import Path

from scripts.comparison.encodings import DATATYPES
from scripts.comparison.peers.network_call import facts

CONFIG = """\
name: "example"
backend: "python"
max_batch_size: 64
input [{{ name: "x", data_type: TYPE_{datatype}, dims: {shape} }}]
output [{{ name: "y", data_type: TYPE_FP32, dims: [{outputs}] }}]
instance_group [{{ count: 1, kind: KIND_CPU }}]
dynamic_batching {{ max_queue_delay_microseconds: 0 }}
"""
EXAMPLE = {"dtype": "float32", "shape": [1], "outputs": 1}
# On two cores, one HTTP thread was faster than two, and batches of 64 rows faster than of 256.
FLAGS = (
    *("--http-address=127.0.0.1", "--http-thread-count=1", "--allow-grpc=false"),
    *("--allow-metrics=false", "--log-info=false", "--disable-auto-complete-config"),
)


def main(port: str, folder: Path, *kind: str) -> None:
    """Write the model repository, and execute the server."""
    packages = Path(sysconfig.get_path("purelib"))
    triton = packages / "pytriton" / "tritonserver"
    model = folder / "repository" / "example"
    (model / "1").mkdir(parents=True)
    known = facts() if kind else EXAMPLE
    config = CONFIG.format_map({**known, "datatype": DATATYPES[str(known["dtype"])]})
    (model / "config.pbtxt").write_text(config)
    shutil.copy(Path(__file__).with_name("triton_model.py"), model / "1" / "model.py")
    # The backend expects its stub, which runs model.py, in its own folder; each Python has its own.
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    backend = shutil.copytree(triton / "backends" / "python", folder / "backends" / "python")
    shutil.copy(triton / "python_backend_stubs" / version / "triton_python_backend_stub", backend)
    libraries = [sysconfig.get_config_var("LIBDIR"), str(packages / "nvidia_pytriton.libs")]
    program = str(triton / "bin" / "tritonserver")
    os.environ["LD_LIBRARY_PATH"] = ":".join(libraries)
    os.environ["PATH"] = (
        f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # so that it finds this venv
    )
    os.execv(  # noqa: S606  # no shell needed
        program,
        [
            *(program, f"--model-repository={model.parent}", f"--http-port={port}", *FLAGS),
            f"--backend-directory={backend.parent}",
        ],
    )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
