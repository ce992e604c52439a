"""Change JSON documents so that they stay JSON: the parser rejects most random changes."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any, Final

ODD: Final[tuple[Any, ...]] = (
    *(0, -1, 1, 2, 99, 100, 127, 128, -32769, 65536, 2**31, 2**53 + 1, 2**63, 2**64, 10**40),
    *(0.5, -0.0, 1e-320, 1e38, 3.5e38, 1e300, 2.0),
    *(
        None,
        True,
        False,
        "",
        "1",
        "NaN",
        "é",
        "\U0001f600",
        "a" * 200,
        [],
        {},
        [[]],
        [{}],
        [0] * 70,
    ),
)
NAMES: Final = ("", "x", "ids", "é")


def mutate(data: bytes, seed: int) -> bytes:
    """Return a document with up to four changes; a body that is not JSON is returned unchanged."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return data
    random = Random(seed)
    mutation = Mutation(document, random)
    for _ in range(random.randint(1, 4)):
        mutation.step()
    text = json.dumps(mutation.root[0], ensure_ascii=random.random() < 0.5)
    return text.encode("utf-8", "replace")


class Mutation:
    """A document that is being changed, the only item of `root`."""

    def __init__(self, document: Any, random: Random) -> None:
        self.root = [document]
        self._random = random
        self._steps = (
            *(self._replace, self._replace, self._copy, self._repeat),
            *(self._remove, self._wrap, self._unwrap, self._rename),
        )

    def step(self) -> None:
        """Change one place."""
        parent, key = self._random.choice(self._places())
        self._random.choice(self._steps)(parent, key)
        if len(self.root) != 1:
            self.root = [self.root[0] if self.root else None]

    def _places(self) -> list[tuple[Any, Any]]:
        """Return all lists and objects, each with its keys or indexes."""
        found: list[tuple[Any, Any]] = []
        waiting: list[Any] = [self.root]
        while waiting:
            each = waiting.pop()
            for key in each if isinstance(each, dict) else range(len(each)):
                found.append((each, key))
                if isinstance(each[key], list | dict):
                    waiting.append(each[key])
        return found

    def _replace(self, parent: Any, key: Any) -> None:
        parent[key] = copy.deepcopy(self._random.choice(ODD))

    def _copy(self, parent: Any, key: Any) -> None:
        other, of = self._random.choice(self._places())
        parent[key] = copy.deepcopy(other[of])

    def _repeat(self, parent: Any, key: Any) -> None:
        if isinstance(parent, list):
            times = self._random.choice((1, 2, 30))
            parent[key:key] = [copy.deepcopy(parent[key]) for _ in range(times)]

    def _remove(self, parent: Any, key: Any) -> None:
        del parent[key]

    def _wrap(self, parent: Any, key: Any) -> None:
        parent[key] = [parent[key]]

    def _unwrap(self, parent: Any, key: Any) -> None:
        inner = parent[key]
        if isinstance(inner, list) and inner:
            parent[key] = inner[0]

    def _rename(self, parent: Any, key: Any) -> None:
        if isinstance(parent, dict):
            names = [of for other, of in self._places() if isinstance(other, dict)]
            parent[self._random.choice([*names, *NAMES])] = parent.pop(key)
