"""Which module may import which, and where each third-party library may be imported."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

CHECKOUT = Path(__file__).parents[1]
LAYERS = ("model", "server", "scripts")

# Where each library may be imported: files, or folders with everything below them.
HOMES = {
    "apispec": ["server/openapi/"],
    "atheris": ["scripts/fuzz.py"],
    "PIL": [
        "model/train_shapes.py",
        "server/dialects/pictures/",
        "scripts/fuzz.py",
        "scripts/measurements/pictures.py",
    ],
    "backports": ["server/http/codings.py"],
    "h5py": ["model/"],
    "httptools": ["server/transport/llhttp/", "server/loadtest/"],
    "jsonschema": ["server/config/", "server/dialects/", "scripts/fuzz_targets.py"],
    "jsonschema_rs": ["server/dialects/"],
    "keras": ["model/", "scripts/measurements/models.py"],
    "numpy": [
        *("model/", "server/dialects/", "server/loadtest/", "server/serving/"),
        "scripts/",
    ],
    "onnx": ["model/"],
    "onnxruntime": ["model/"],
    "openvino": ["model/"],
    "orjson": ["server/dialects/", "server/loadtest/", "server/logs/", "scripts/"],
    "prometheus_client": ["server/monitoring/metrics.py"],
    "rich": ["model/train.py", "server/loadtest/", "scripts/"],
    "tensorflow": ["model/"],
    "tf2onnx": ["model/engines/"],
    "tf_keras": ["model/formats/"],
    "tornado": ["server/app.py", "server/handlers/", "server/listening.py", "server/transport/"],
    "uvloop": ["server/loadtest/", "server/run.py"],
    "yaml": ["server/config/"],
}

# Other servers, each run in its own environment.
PEERS = "scripts/comparison/peers/"

# Which other rooms a room may import; a room is a folder of server/, or a file beside the folders.
BELOW_APP = {
    *("batching", "config", "dialects", "errors", "handlers", "http", "logs", "model"),
    *("monitoring", "openapi", "problems", "serving", "transport"),
}
ALLOWED = {
    "model": set(),
    "errors": set(),
    "config": set(),
    "listening": {"config"},
    "batching": set(),
    "problems": {"errors", "batching"},
    "dialects": {"config", "errors", "model", "problems"},
    "logs": {"config", "dialects"},
    "serving": {"batching", "config", "dialects", "errors", "logs", "model"},
    "monitoring": {"batching", "errors", "logs", "serving"},
    "openapi": {"dialects", "model", "problems", "serving"},
    "http": {"batching", "config", "dialects", "errors", "logs", "model", "serving"},
    "transport": {"config", "http", "listening", "logs"},
    "handlers": {
        *("batching", "dialects", "errors", "http", "logs", "model", "monitoring", "openapi"),
        *("problems", "serving"),
    },
    "app": BELOW_APP,
    "live_settings": {"config", "http", "serving", "transport"},
    "signals": set(),
    "systemd": set(),
    "run": BELOW_APP | {"app", "listening", "live_settings", "signals", "systemd"},
    "asgi": {"app", "config", "http", "logs", "monitoring", "serving", "transport"},
    "loadtest": {"model"},
    "tune": {"config", "loadtest", "model", "serving"},
    "__main__": {"config", "listening", "run", "serving", "tune"},
    "installed": {"__main__"},
    "scripts": {"app", "loadtest", "run", "tune"} | BELOW_APP,
}


class Import(NamedTuple):
    """One import, anywhere in a file."""

    file: str
    line: int
    module: str
    name: str = ""

    @property
    def package(self) -> str:
        return self.module.partition(".")[0]

    @property
    def full_name(self) -> str:
        return f"{self.module}.{self.name}" if self.name else self.module

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"


def imports_of(path: Path) -> Iterator[Import]:
    file = path.relative_to(CHECKOUT).as_posix()
    for node in ast.walk(ast.parse(path.read_text(), file)):
        if isinstance(node, ast.Import):
            yield from (Import(file, node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            home = ".".join(Path(file).parts[: -node.level]) if node.level else ""
            module = ".".join(filter(None, [home, node.module]))
            yield from (Import(file, node.lineno, module, alias.name) for alias in node.names)


def sources() -> list[Path]:
    return sorted(path for layer in LAYERS for path in (CHECKOUT / layer).rglob("*.py"))


IMPORTS = [item for path in sources() for item in imports_of(path)]
OWN = {*LAYERS, "tests"}
THIRD_PARTY = [
    item
    for item in IMPORTS
    if item.package not in sys.stdlib_module_names
    and item.package not in OWN
    and not item.file.startswith(PEERS)
]


MAX_LINES = 350
MAX_FUNCTION = 40
LONG_FILES = {"server/config/settings.py"}  # it declares all settings


def test_no_file_has_a_second_subject() -> None:
    sizes = {
        path.relative_to(CHECKOUT).as_posix(): len(path.read_text().splitlines())
        for path in sources()
    }
    assert {file for file, size in sizes.items() if size > MAX_LINES} == LONG_FILES


def test_functions_are_short() -> None:
    functions = [
        (path.name, node.name, node.end_lineno - node.lineno + 1)
        for path in sources()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno
    ]
    assert [each for each in functions if each[2] > MAX_FUNCTION] == []


def room_of_file(file: str) -> str:
    """Return `batching` for `server/batching/batcher.py`, and `run` for `server/run.py`."""
    parts = Path(file).with_suffix("").parts
    return parts[1] if parts[0] == "server" else parts[0]


def room_of_module(module: str) -> str:
    parts = module.split(".")
    return parts[1] if parts[0] == "server" and len(parts) > 1 else parts[0]


BETWEEN_ROOMS = [
    (room_of_file(item.file), room_of_module(item.full_name), str(item))
    for item in IMPORTS
    if item.package in OWN and item.full_name != "server.__version__"
]


def test_a_room_imports_only_the_rooms_below_it() -> None:
    """ALLOWED lists them; nothing imports the tests."""
    wrong = [text for room, other, text in BETWEEN_ROOMS if other not in ALLOWED[room] | {room}]

    assert wrong == []


def test_the_table_of_rooms_has_no_cycle() -> None:
    order = TopologicalSorter(ALLOWED).static_order()

    assert set(order) == set(ALLOWED)


def test_every_room_is_in_the_table_and_every_line_of_it_is_used() -> None:
    rooms = {room for room, _, _ in BETWEEN_ROOMS} | {other for _, other, _ in BETWEEN_ROOMS}
    used = {(room, other) for room, other, _ in BETWEEN_ROOMS}
    unused = [
        f"{room} -> {other}"
        for room, others in ALLOWED.items()
        for other in others
        if (room, other) not in used and room not in ("app", "run", "scripts")
    ]

    assert (rooms - ALLOWED.keys(), unused) == (set(), [])


def test_there_are_no_import_cycles() -> None:
    """Neither between nor within rooms; imports for type checkers count."""
    files = {
        path.relative_to(CHECKOUT).as_posix()
        for layer in LAYERS
        for path in (CHECKOUT / layer).rglob("*.py")
    }

    def file_of(module: str) -> str | None:
        base = module.replace(".", "/")
        return next((f for f in (f"{base}.py", f"{base}/__init__.py") if f in files), None)

    below: dict[str, set[str]] = {}
    for item in IMPORTS:
        other = file_of(item.full_name) or file_of(item.module)
        if other is not None and other != item.file:
            below.setdefault(item.file, set()).add(other)

    TopologicalSorter(below).prepare()  # raises CycleError


FREE_OF_LIBRARIES = {"batching": "server/batching/", "errors": "server/errors.py"}


@pytest.mark.parametrize("start", FREE_OF_LIBRARIES.values(), ids=FREE_OF_LIBRARIES)
def test_batching_and_errors_import_only_the_standard_library(start: str) -> None:
    """So batching can be tested with plain integers, without Keras, HTTP or numpy."""
    assert [str(item) for item in THIRD_PARTY if item.file.startswith(start)] == []


def test_http_does_not_import_tornado() -> None:
    """Code that both transports share must not depend on one of them."""
    wrong = [
        str(item)
        for item in THIRD_PARTY
        if item.package == "tornado" and item.file.startswith("server/http/")
    ]

    assert wrong == []


def test_each_library_is_imported_only_where_allowed() -> None:
    wrong = [
        str(item)
        for item in THIRD_PARTY
        if not any(
            item.file == home or (home.endswith("/") and item.file.startswith(home))
            for home in HOMES.get(item.package, [])
        )
    ]

    assert wrong == []


def test_every_allowed_place_of_a_library_is_used() -> None:
    """An entry that is no longer needed must be removed."""
    used = {item.package for item in THIRD_PARTY}

    empty = [
        f"{package}: {home}"
        for package, homes in HOMES.items()
        for home in homes
        if package not in used
        or not any(item.package == package and item.file.startswith(home) for item in THIRD_PARTY)
    ]

    assert empty == []


def test_importing_the_application_does_not_import_tensorflow() -> None:
    """Importing TensorFlow takes seconds, in every test and every command."""
    program = (
        "import sys, server.app; "
        "print(sorted({'tensorflow', 'keras', 'h5py', 'PIL'} & set(sys.modules)))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], cwd=CHECKOUT, capture_output=True, text=True
    )

    assert (done.stdout.strip(), done.stderr) == ("[]", "")


# Network clients. http.client may be imported for the names of statuses.
CLIENTS = {
    *("aiohttp", "ftplib", "httpx", "huggingface_hub", "kagglehub", "requests", "smtplib"),
    *("tornado.httpclient", "tornado.simple_httpclient", "urllib.request", "urllib3"),
}


LOAD = "server/loadtest/"  # the load test is a client


def test_the_server_has_no_network_client() -> None:
    """Models, schemas and pages are never downloaded."""
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
    """Return the lines that suppress a check without naming the rule and the reason."""
    return [
        line.strip()
        for line in text.splitlines()
        if (found := EXCEPTION.search(line)) and not WITH_REASON.fullmatch(found["rest"])
    ]


def test_every_suppressed_check_has_a_reason() -> None:
    files = [path for layer in LAYERS for path in (CHECKOUT / layer).rglob("*.py")]

    assert [line for path in files for line in exceptions_without_reason(path.read_text())] == []
    assert exceptions_without_reason("x  # noqa: S603\ny = 1\nz  # noqa: S603  # ours\n") == [
        "x  # noqa: S603"
    ]


def test_the_security_checks_are_on() -> None:
    """For a whole folder they are off only with a reason in the same line."""
    text = (CHECKOUT / "pyproject.toml").read_text()
    lint = tomllib.loads(text)["tool"]["ruff"]["lint"]

    assert "S" in lint["select"]
    assert [rule for rule in lint["ignore"] if rule.startswith("S")] == ["S101"]
    for folder, rules in lint["per-file-ignores"].items():
        found = {rule for rule in rules if re.match(r"S(\d|$)", rule)}
        assert found <= ({"S"} if folder == "tests/**" else {"S311"}), folder
    for rule in ("S101", "S", "S311"):
        assert re.search(rf'^    "{rule}",\s+# \w', text, re.MULTILINE)
