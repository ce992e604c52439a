"""Signatures as JSON: in the messages of model processes, and beside converted networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from model.signature import DTYPES, Signature, TensorSpec

Fields = dict[str, Any]


def signature_fields(signature: Signature) -> Fields:
    """Return a signature as JSON writes it."""
    return {
        "inputs": [asdict(spec) for spec in signature.inputs],
        "outputs": [asdict(spec) for spec in signature.outputs],
        "name": signature.name,
    }


def signature_of(fields: Mapping[str, Any]) -> Signature:
    """Read such fields; raises TypeError, KeyError, ValueError, OverflowError."""

    def specs(side: str) -> tuple[TensorSpec, ...]:
        return tuple(_spec(each) for each in fields[side])

    name = fields["name"]
    if not isinstance(name, str):
        raise TypeError(f"a signature is named {name!r}")
    return Signature(specs("inputs"), specs("outputs"), name)


def _spec(fields: Fields) -> TensorSpec:
    tuples = {key: tuple(fields[key]) for key in ("shape", "samples")}
    spec = TensorSpec(**{**fields, **tuples})
    _check_spec(spec)
    return spec


def _check_spec(spec: TensorSpec) -> None:
    sizes = [size for size in (*spec.shape, spec.minimum, spec.maximum) if size is not None]
    if not isinstance(spec.name, str) or spec.dtype not in DTYPES:
        raise ValueError("a tensor without a name or a dtype")
    if not all(type(size) is int and 0 <= size < 2**63 for size in sizes):
        raise ValueError("a shape or ids that are none")
    _check_samples(spec)


def _check_samples(spec: TensorSpec) -> None:
    """Raise ValueError unless the samples can be cells of this tensor."""
    if spec.dtype == "string":
        if not all(type(sample) is str for sample in spec.samples):
            raise ValueError("samples that are no strings")
    elif not all(type(sample) is int for sample in spec.samples):
        raise ValueError("samples that are no integers")
    else:
        np.array(spec.samples, object).astype(spec.array_dtype)  # OverflowError: out of range
