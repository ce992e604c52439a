"""What is known of a converted network that the file of its engine does not tell."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from model.padding import PaddingHint
from model.signature import Signature
from model.signature_json import Fields, signature_fields, signature_of

UNREADABLE: Final = (
    *(TypeError, KeyError, ValueError, AttributeError),
    *(OverflowError, RecursionError),
)


@dataclass(frozen=True)
class Description:
    """A converted network.

    Attributes:
        engine: what computes it.
        signature: of the network that was converted.
        inputs: what the engine's file calls the inputs, in the signature's order.
        outputs: the same of the outputs.
        fixed_rows: the number of rows that every call has; None: any number.
        answered_nan: rows of input with one of these are answered with NaN; see `NanRows`.
        padding_hint: what the layers of the network said about padding; None if they are not known.
    """

    engine: str
    signature: Signature
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    fixed_rows: int | None = None
    answered_nan: tuple[float, ...] = ()
    padding_hint: PaddingHint | None = None

    def as_json(self) -> str:
        fields: Fields = {
            "engine": self.engine,
            "signature": signature_fields(self.signature),
            "inputs": self.inputs,
            "outputs": self.outputs,
            "fixed_rows": self.fixed_rows,
            "answered_nan": list(map(str, self.answered_nan)),
            "padding_hint": self.padding_hint and self.padding_hint.fields(),
        }
        return json.dumps(fields, indent=1)

    @classmethod
    def of_json(cls, text: str) -> Self:
        """Read it; raises ValueError."""
        try:
            return cls._of(json.loads(text))
        except UNREADABLE as error:
            raise ValueError(
                f"its description cannot be read: {error}; convert it again"
            ) from error

    @classmethod
    def _of(cls, fields: Mapping[str, Any]) -> Self:
        """Raises UNREADABLE."""
        signature, rows = signature_of(fields["signature"]), fields["fixed_rows"]
        names = tuple(map(str, fields["inputs"])), tuple(map(str, fields["outputs"]))
        if tuple(map(len, names)) != (len(signature.inputs), len(signature.outputs)):
            raise ValueError("other inputs or outputs than it has")
        if rows is not None and (type(rows) is not int or rows < 1):
            raise ValueError(f"a call of {rows} rows")
        values = tuple(float(value) for value in fields["answered_nan"])
        hint = PaddingHint.of(fields.get("padding_hint"))
        return cls(str(fields["engine"]), signature, *names, rows, values, hint)
