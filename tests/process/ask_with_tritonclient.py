"""Sends requests with Triton's own client; run it with the Python of `.clients`, which has it.

`ask_with_tritonclient.py KIND tensors ADDRESS MODEL GIVEN ANSWERED` sends the arrays of the file
    GIVEN (.npz) in JSON and in binary, and writes the outputs, received in JSON and in binary, to
    the file ANSWERED. Their names are like `in bytes, out json/y`; strings are numpy bytes.
`ask_with_tritonclient.py KIND tour ADDRESS KEY` makes the other calls of the client, with a model
    named line, and prints the results as JSON.
`ask_with_tritonclient.py KIND classes ADDRESS MODEL OUTPUT` asks for two classes of an output, and
    prints the results as JSON: received in JSON and in binary.
`ask_with_tritonclient.py KIND files ADDRESS MODEL GIVEN` sends the pictures in the file GIVEN
    (.npz), an array of bytes for an input, and prints the only output as JSON.

KIND is `sync` or `asyncio`: the client to use.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
from types import ModuleType
from typing import Any

import numpy as np
import tritonclient.http
import tritonclient.http.aio
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

KINDS = {"sync": tritonclient.http, "asyncio": tritonclient.http.aio}
FORMS = {"json": False, "bytes": True}


class Client:
    """One asynchronous interface to both clients."""

    def __init__(self, library: ModuleType, address: str) -> None:
        self.library = library
        self._client = library.InferenceServerClient(address)

    async def do(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Call a method of the client."""
        answer = getattr(self._client, name)(*arguments, **options)
        return await answer if inspect.isawaitable(answer) else answer

    async def refusal(self, name: str, *arguments: Any, **options: Any) -> str:
        """Return status and message of a call that the server rejects."""
        try:
            await self.do(name, *arguments, **options)
        except InferenceServerException as error:
            return f"{error.status()}: {error.message()}"
        return "it was not rejected"

    def inputs(self, arrays: dict[str, np.ndarray], in_bytes: bool) -> list[Any]:
        """Return arrays as inputs of the client."""
        inputs = []
        for name, array in arrays.items():
            if array.dtype.kind == "S":
                array = array.astype(object)
            given = self.library.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
            given.set_data_from_numpy(array, binary_data=in_bytes)
            inputs.append(given)
        return inputs


def as_bytes(cell: str | bytes) -> bytes:
    """Return a string of an answer as bytes; in JSON answers it is text."""
    return cell.encode() if isinstance(cell, str) else cell


async def tensors(client: Client, model: str, given: str, answered: str) -> None:
    """Send arrays in all combinations of JSON and binary."""
    with np.load(given) as file:
        arrays = dict(file)
    metadata = await client.do("get_model_metadata", model)
    answers = {}
    for in_form, in_bytes in FORMS.items():
        for out_form, out_bytes in FORMS.items():
            outputs = [
                client.library.InferRequestedOutput(output["name"], binary_data=out_bytes)
                for output in metadata["outputs"]
            ]
            inputs = client.inputs(arrays, in_bytes)
            result = await client.do("infer", model, inputs, outputs=outputs)
            for output in metadata["outputs"]:
                array = result.as_numpy(output["name"])
                if array.dtype.hasobject:
                    array = np.array([as_bytes(cell) for cell in array.flat]).reshape(array.shape)
                answers[f"in {in_form}, out {out_form}/{output['name']}"] = array
    np.savez(answered, **answers)


async def tour(client: Client, key: str) -> dict[str, Any]:
    """Make all other calls of the client; return the results by name."""
    keys = {"headers": {"X-API-Key": key}}
    one = client.inputs({"x": np.float32([[10]])}, True)
    asked = await client.do("infer", "line", one, request_id="42", timeout=10_000_000, **keys)
    told = {
        "live": await client.do("is_server_live"),
        "ready": await client.do("is_server_ready"),
        "model ready": await client.do("is_model_ready", "line"),
        "version 1 ready": await client.do("is_model_ready", "line", "1"),
        "version 9 ready": await client.do("is_model_ready", "line", "9"),
        "other ready": await client.do("is_model_ready", "other"),
        "server": await client.do("get_server_metadata"),
        "model": await client.do("get_model_metadata", "line"),
        "answer": asked.get_response(),
        "prediction": asked.as_numpy("dense").tolist(),
        "statistics": await client.do("get_inference_statistics", "line"),
        "all statistics": await client.do("get_inference_statistics"),
        "index": await client.do("get_model_repository_index", **keys),
        "no key": await client.refusal("infer", "line", one),
        "no such model": await client.refusal("infer", "other", one, **keys),
        "no such version": await client.refusal("infer", "line", one, "9", **keys),
        "sequence": await client.refusal("infer", "line", one, sequence_id=7, **keys),
        "config": await client.do("get_model_config", "line"),
        "config of version 1": await client.do("get_model_config", "line", "1"),
        "trace settings": await client.refusal("get_trace_settings"),
        "trace settings of a model": await client.refusal("get_trace_settings", "line"),
        "log settings": await client.refusal("get_log_settings"),
        "shared memory": await client.refusal("get_system_shared_memory_status"),
        "shared memory of a region": await client.refusal("get_cuda_shared_memory_status", "a"),
        "load without key": await client.refusal("load_model", "line"),
    }
    await client.do("load_model", "line", **keys)
    again = await client.do("infer", "line", one, model_version="2", **keys)
    told["after the load"] = again.get_response()["model_version"]
    await client.do("unload_model", "line", **keys)
    told["ready after the unload"] = await client.do("is_model_ready", "line")
    await client.do("load_model", "line", **keys)
    told["ready after the next load"] = await client.do("is_model_ready", "line")
    return told


async def classes(client: Client, model: str, output: str) -> dict[str, Any]:
    """Ask for the two highest classes of an output; return them by form."""
    inputs = client.inputs({"x": np.float32([[-0.25], [0]])}, True)
    told = {}
    for form, in_bytes in FORMS.items():
        wanted = client.library.InferRequestedOutput(output, binary_data=in_bytes, class_count=2)
        result = await client.do("infer", model, inputs, outputs=[wanted])
        array = result.as_numpy(output)
        told[form] = [[as_bytes(cell).decode() for cell in row] for row in array]
    return told


async def files(client: Client, model: str, given: str) -> Any:
    """Send pictures; return the output."""
    with np.load(given) as file:
        result = await client.do("infer", model, client.inputs(dict(file), True))
    [output] = result.get_response()["outputs"]
    return result.as_numpy(output["name"]).tolist()


async def main(kind: str, what: str, address: str, *arguments: str) -> None:
    """Run one of the two commands."""
    client = Client(KINDS[kind], address)
    try:
        if what == "tensors":
            await tensors(client, *arguments)
        else:
            told = await {"tour": tour, "classes": classes, "files": files}[what](
                client, *arguments
            )
            print(json.dumps(told))
    finally:
        await client.do("close")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
