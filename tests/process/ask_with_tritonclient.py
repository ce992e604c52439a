"""Asks a server with Triton's own client; the Python of `.clients` runs it, which has that.

`ask_with_tritonclient.py KIND tensors ADDRESS MODEL GIVEN ANSWERED` sends the arrays of the file
    GIVEN (.npz), in JSON and in bytes, and writes to ANSWERED the outputs that came back in JSON
    and in bytes, named `in bytes, out json/y`. Strings are numpy's bytes in these files.
`ask_with_tritonclient.py KIND tour ADDRESS KEY` goes through what else the client can do, with a
    model of the name line, and prints as JSON what it was told.

KIND is `sync` or `asyncio`, the client that is used.
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
    """Both clients alike: what it does is awaited."""

    def __init__(self, library: ModuleType, address: str) -> None:
        self.library = library
        self._client = library.InferenceServerClient(address)

    async def do(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Call a method of the client."""
        answer = getattr(self._client, name)(*arguments, **options)
        return await answer if inspect.isawaitable(answer) else answer

    async def refusal(self, name: str, *arguments: Any, **options: Any) -> str:
        """Return what the client says of a call that is refused."""
        try:
            await self.do(name, *arguments, **options)
        except InferenceServerException as error:
            return f"{error.status()}: {error.message()}"
        return "it was not refused"

    def inputs(self, arrays: dict[str, np.ndarray], in_bytes: bool) -> list[Any]:
        """Return arrays as the client takes them."""
        inputs = []
        for name, array in arrays.items():
            if array.dtype.kind == "S":
                array = array.astype(object)
            given = self.library.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
            given.set_data_from_numpy(array, binary_data=in_bytes)
            inputs.append(given)
        return inputs


def as_bytes(cell: str | bytes) -> bytes:
    """Return a string of an answer, which is text where it came in JSON."""
    return cell.encode() if isinstance(cell, str) else cell


async def tensors(client: Client, model: str, given: str, answered: str) -> None:
    """Send arrays in all forms."""
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
    """Go through all that is not about many tensors."""
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


async def main(kind: str, what: str, address: str, *arguments: str) -> None:
    """Do what the arguments say."""
    client = Client(KINDS[kind], address)
    try:
        if what == "tensors":
            await tensors(client, *arguments)
        else:
            print(json.dumps(await tour(client, *arguments)))
    finally:
        await client.do("close")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
