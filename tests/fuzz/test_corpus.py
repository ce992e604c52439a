"""The corpus of the fuzzer and the inputs it once found, replayed without it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.fuzz_json import mutate
from scripts.fuzz_targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
CASES = sorted(path for path in CORPUS.glob("*/*") if path.is_file())


def test_every_decoder_has_a_corpus() -> None:
    assert {path.parent.name for path in CASES} == set(TARGETS)


@pytest.mark.parametrize("case", CASES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_kept_inputs_are_decoded_or_rejected(case: Path) -> None:
    TARGETS[case.parent.name](case.read_bytes())


@pytest.mark.parametrize("case", CASES, ids=lambda path: f"{path.parent.name}/{path.name}")
@settings(deadline=None, max_examples=30)
@given(data=st.data())
def test_kept_inputs_with_changed_bytes_are_decoded_or_rejected(
    case: Path, data: st.DataObject
) -> None:
    kept = bytearray(case.read_bytes())
    start = data.draw(st.integers(0, len(kept)))
    stop = data.draw(st.integers(start, min(start + 8, len(kept))))
    kept[start:stop] = data.draw(st.binary(max_size=8))
    TARGETS[case.parent.name](bytes(kept))


def test_a_mutated_document_is_still_json_and_differs() -> None:
    """The same seed makes the same change, so findings can be reproduced."""
    kept = (CORPUS / "tfserving" / "named").read_bytes()
    changed = [mutate(kept, seed) for seed in range(300)]

    assert changed == [mutate(kept, seed) for seed in range(300)]
    assert len({json.dumps(json.loads(each)) for each in changed}) > 200
    assert mutate(b'{"data":', 1) == b'{"data":'
