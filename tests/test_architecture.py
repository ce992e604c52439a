"""Who may import whom: one direction of imports, and one home for each third-party library."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

CHECKOUT = Path(__file__).parents[1]
LAYERS = ("model", "server", "scripts")

# Where each library may be imported: files, or folders with all that is in them.
HOMES = {
    "apispec": ["server/openapi/"],
    "atheris": ["scripts/fuzz.py"],
    "h5py": ["model/"],
    "httptools": ["server/transport/", "server/loadtest/"],
    "jsonschema": ["server/config/", "server/dialects/", "scripts/fuzz_targets.py"],
    "jsonschema_rs": ["server/dialects/"],
    "keras": ["model/", "scripts/measurements/models.py"],
    "numpy": ["model/", "server/dialects/", "server/loadtest/", "scripts/"],
    "orjson": [
        *("server/dialects/", "server/loadtest/", "server/logs/", "server/logs.py"),
        "scripts/",
    ],
    "prometheus_client": ["server/monitoring/metrics.py"],
    "rich": ["model/train.py", "scripts/"],
    "tensorflow": ["model/"],
    "tornado": [
        "server/app.py",
        "server/handlers.py",
        "server/transport/tornado_server.py",
        "server/transport/",
        "server/run.py",
    ],
    "uvloop": ["server/loadtest/", "server/run.py"],
    "yaml": ["server/config/"],
}

# Programs that are other servers, each run in an environment of its own.
PEERS = "scripts/comparison/peers/"

# Which of the project's own packages each may import, beside itself.
BELOW = {"model": set(), "server": {"model"}, "scripts": {"model", "server"}}


class Import(NamedTuple):
    """One import of a module, wherever in its file it stands."""

    file: str
    line: int
    module: str

    @property
    def package(self) -> str:
        return self.module.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"


def imports_of(path: Path) -> Iterator[Import]:
    file = path.relative_to(CHECKOUT).as_posix()
    for node in ast.walk(ast.parse(path.read_text(), file)):
        if isinstance(node, ast.Import):
            yield from (Import(file, node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            home = ".".join(Path(file).parts[: -node.level]) if node.level else ""
            yield Import(file, node.lineno, ".".join(filter(None, [home, node.module])))


IMPORTS = [
    item
    for layer in LAYERS
    for path in sorted((CHECKOUT / layer).rglob("*.py"))
    for item in imports_of(path)
]
OWN = {*LAYERS, "tests"}
THIRD_PARTY = [
    item
    for item in IMPORTS
    if item.package not in sys.stdlib_module_names
    and item.package not in OWN
    and not item.file.startswith(PEERS)
]


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_go_in_one_direction(layer: str) -> None:
    """`model` knows nothing of `server`, and nothing that runs knows its tests."""
    allowed = BELOW[layer] | {layer}

    wrong = [
        str(item)
        for item in IMPORTS
        if item.file.startswith(f"{layer}/") and item.package in OWN - allowed
    ]

    assert wrong == []


PURE = sorted(
    path.relative_to(CHECKOUT).as_posix() for path in (CHECKOUT / "server/batching").glob("*.py")
)


@pytest.mark.parametrize("file", PURE)
def test_batching_is_made_of_the_standard_library_alone(file: str) -> None:
    """No Keras, no HTTP, no numpy: it can be tested on plain integers."""
    own = {"server.batching", "server.batching.deadlines", "server.batching.fair_queue"}

    wrong = [
        str(item)
        for item in IMPORTS
        if item.file == file
        and item.package not in sys.stdlib_module_names
        and item.module not in own
    ]

    assert wrong == []


def test_each_library_stays_in_its_home() -> None:
    wrong = [
        str(item)
        for item in THIRD_PARTY
        if not any(
            item.file == home or (home.endswith("/") and item.file.startswith(home))
            for home in HOMES.get(item.package, [])
        )
    ]

    assert wrong == []


def test_every_home_is_lived_in() -> None:
    """A line that nothing needs any longer goes."""
    used = {item.package for item in THIRD_PARTY}

    empty = [
        f"{package}: {home}"
        for package, homes in HOMES.items()
        for home in homes
        if package not in used
        or not any(item.package == package and item.file.startswith(home) for item in THIRD_PARTY)
    ]

    assert empty == []


def test_the_application_is_there_without_tensorflow() -> None:
    """Else every test and every command would wait for seconds."""
    program = (
        "import sys, server.app; print(sorted({'tensorflow', 'keras', 'h5py'} & set(sys.modules)))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True
    )

    assert (done.stdout.strip(), done.stderr) == ("[]", "")


# What asks others over the network. http.client is there for the names of statuses.
CLIENTS = {
    *("aiohttp", "ftplib", "httpx", "huggingface_hub", "kagglehub", "requests", "smtplib"),
    *("tornado.httpclient", "tornado.simple_httpclient", "urllib.request", "urllib3"),
}


# Puts load on a server: a client by trade, which is why nothing that serves may import it.
LOAD = "server/loadtest/"
LOADERS = (LOAD, "server/tune/", "scripts/")


def test_what_serves_puts_load_on_nobody() -> None:
    wrong = [
        str(item)
        for item in IMPORTS
        if item.module.startswith(("server.loadtest", "server.tune"))
        and not item.file.startswith((*LOADERS, "server/__main__.py"))
    ]

    assert wrong == []


def test_what_serves_asks_nobody() -> None:
    """A model, a schema or a page is never fetched from elsewhere."""
    wrong = [
        str(item)
        for item in IMPORTS
        if not item.file.startswith(("scripts/", LOAD))
        and (item.module in CLIENTS or item.package in CLIENTS)
    ]
    calls = [
        f"{layer}/{path.name}: {word}"
        for layer in ("model", "server")
        for path in (CHECKOUT / layer).rglob("*.py")
        for word in ("get_file(", "from_preset(", "HTTPConnection(")
        if word in path.read_text() and not path.is_relative_to(CHECKOUT / LOAD)
    ]

    assert wrong + calls == []


EXCEPTION = re.compile(r"#\s*(noqa|type: ignore|nosec)\b(?P<rest>.*)")
WITH_REASON = re.compile(r"(: [A-Z0-9, ]+|\[[a-z, -]+\])  # \w.*")


def exceptions_without_reason(text: str) -> list[str]:
    """Return the lines that keep a checker quiet and do not say which rule, or not why."""
    return [
        line.strip()
        for line in text.splitlines()
        if (found := EXCEPTION.search(line)) and not WITH_REASON.fullmatch(found["rest"])
    ]


def test_every_exception_from_a_check_has_its_reason_beside_it() -> None:
    files = [path for layer in LAYERS for path in (CHECKOUT / layer).rglob("*.py")]

    assert [line for path in files for line in exceptions_without_reason(path.read_text())] == []
    assert exceptions_without_reason("x  # noqa: S603\ny = 1\nz  # noqa: S603  # ours\n") == [
        "x  # noqa: S603"
    ]


def test_the_checks_for_security_are_on() -> None:
    """And off for a whole folder only where the line says why."""
    text = (CHECKOUT / "pyproject.toml").read_text()
    lint = tomllib.loads(text)["tool"]["ruff"]["lint"]

    assert "S" in lint["select"]
    assert [rule for rule in lint["ignore"] if rule.startswith("S")] == ["S101"]
    for folder, rules in lint["per-file-ignores"].items():
        found = {rule for rule in rules if re.match(r"S(\d|$)", rule)}
        assert found <= ({"S"} if folder == "tests/**" else {"S311"}), folder
    for rule in ("S101", "S", "S311"):
        assert re.search(rf'^    "{rule}",\s+# \w', text, re.MULTILINE)
