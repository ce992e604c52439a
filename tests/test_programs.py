"""Every program that the project starts is on a fresh machine, or a message says how to install it.

CONTRIBUTING.md lists the programs of a fresh machine. Programs that make installs are started by
path, such as .venv/bin/ruff. A file that starts any other program must contain the message "… is
not installed: " with the command that installs it; in a test, it is the reason of a skip.

The sources are read but not run, so commands that are built at run time are not found.
`python3 scripts/short_path.py make test` finds those.
"""

from __future__ import annotations

import ast
import re
import shutil
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest

from scripts import short_path

CHECKOUT = Path(__file__).parents[1]
FRESH = {*short_path.programs_of_a_fresh_machine()}
FILES = [
    *("Makefile", ".ci/run"),
    *(
        path.relative_to(CHECKOUT).as_posix()
        for folder in ("model", "scripts", "server", "tests")
        for path in sorted((CHECKOUT / folder).rglob("*.py"))
    ),
]
INSTALLERS = {"sudo"}  # `make browser-test` installs Chromium with it, or prints the command

# Functions whose first argument is the command to start.
STARTERS = {
    *(f"subprocess.{name}" for name in ("Popen", "call", "check_call", "check_output", "run")),
    *(f"os.{name}" for name in ("execl", "execlp", "execv", "execve", "execvp", "execvpe")),
    *("asyncio.create_subprocess_exec", "os.posix_spawn", "os.posix_spawnp", "pty.spawn"),
    "shutil.which",
}
SHELLS = {
    *("asyncio.create_subprocess_shell", "os.popen", "os.system", "subprocess.getoutput"),
    "subprocess.getstatusoutput",
}
SHELL_WORDS = {
    *(".", "break", "case", "cd", "command", "continue", "done", "esac", "eval", "exit", "export"),
    *("fi", "for", "read", "return", "set", "shift", "trap", "ulimit", "umask", "unset", "wait"),
}
# Words of a shell that are followed by a command.
OPENING = r"(?:^|(?<=[\s;|&(]))(?:command -v|do|elif|else|-?exec|if|then|until|while|!)(?=\s)"


def programs_in_shell(script: str) -> set[str]:
    """Return the first word of each command of a script, except words of the shell itself."""
    script = re.sub(r"\\\n|'[^']*'", " ", script)
    script = re.sub(
        r"(\bcase\s+\S+\s+in|;;)\s*[^\s()]+\)", ";", script
    )  # patterns are not commands
    script = re.sub(OPENING, ";", script)
    words = re.findall(
        r"(?:^|[;|&({\n])\s*(?:\w+=\S*\s+)*([A-Za-z./][\w./+-]*)(?=[\s;)]|$)", script
    )
    return {*words} - SHELL_WORDS


def programs_in_makefile(text: str) -> set[str]:
    values = dict(re.findall(r"^(\w+) *:= *(.*)$", text, re.MULTILINE))
    programs = set()
    for recipe, called in re.findall(
        r"^\t[@+-]*((?:.*\\\n)*.*)$|\$\(shell (.*)\)", text, re.MULTILINE
    ):
        script = (recipe or called).replace("$$", "\0")
        while (name := re.search(r"\$\((\w+)\)", script)) is not None:
            script = script.replace(name[0], values.get(name[1], ""))
        script = re.sub(r"\$\([^()]*\)|\$[@<^]", "_", script).replace("\0", "$")
        programs |= programs_in_shell(script)
    return programs


class Module:
    """Finds the programs that a Python file starts, if their names are constants."""

    def __init__(self, text: str) -> None:
        self.imported: dict[str, str] = {}
        self.values: defaultdict[str, list[ast.expr]] = defaultdict(list)
        self.calls: list[ast.Call] = []
        for node in ast.walk(ast.parse(text)):
            match node:
                case ast.Import(names=names):
                    self.imported |= {each.asname or each.name: each.name for each in names}
                case ast.ImportFrom(module=module, names=names):
                    for each in names:
                        self.imported[each.asname or each.name] = f"{module}.{each.name}"
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    self.values[name].append(value)
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                    self.values[name].append(value)
                case ast.Call():
                    self.calls.append(node)

    def full_name(self, node: ast.expr) -> str:
        first, dot, rest = ast.unparse(node).partition(".")
        return self.imported.get(first, first) + dot + rest

    def programs(self) -> set[str]:
        found: set[str] = set()
        for call in self.calls:
            # The function may be an argument: asyncio.to_thread(subprocess.run, command).
            for function, argument in pairwise([call.func, *call.args]):
                if self.full_name(function) in STARTERS:
                    found |= self.in_command(argument)
                elif self.full_name(function) in SHELLS:
                    found |= self.in_script(argument)
            for (
                keyword
            ) in call.keywords:  # arguments of the tests' own functions that start programs
                if keyword.arg == "command":
                    found |= self.in_command(keyword.value)
                elif keyword.arg == "shell":
                    found |= self.in_script(keyword.value)
        return found

    def in_command(self, node: ast.expr, seen: frozenset[str] = frozenset()) -> set[str]:
        match node:
            case ast.Constant(value=str(program)):
                return {program} if re.fullmatch(r"[\w./][\w./+-]*", program) else set()
            case ast.List(elts=[first, *_] as words) | ast.Tuple(elts=[first, *_] as words):
                found = self.in_command(first, seen)
                for shell, flag, script in zip(words, words[1:], words[2:], strict=False):
                    if re.fullmatch(
                        r"'(ba)?sh' '-\w*c'", f"{ast.unparse(shell)} {ast.unparse(flag)}"
                    ):
                        found |= self.in_script(script)
                return found
            case ast.Starred(value=inner) | ast.BinOp(left=inner, op=ast.Add()):
                return self.in_command(inner, seen)
            case ast.IfExp(body=body, orelse=other):
                return self.in_command(body, seen) | self.in_command(other, seen)
            case ast.Name(id=name) if name not in seen:
                values = [self.in_command(each, seen | {name}) for each in self.values[name]]
                return set().union(*values)
        return set()

    def in_script(self, node: ast.expr) -> set[str]:
        match node:
            case ast.Constant(value=str(script)):
                return programs_in_shell(script)
            case ast.JoinedStr(values=parts):
                texts = [each.value if isinstance(each, ast.Constant) else "_" for each in parts]
                return programs_in_shell("".join(texts))
            case ast.Name(id=name):
                return set().union(*map(self.in_script, self.values[name]))
        return set()

    def reasons_to_skip(self) -> str:
        skips = [
            call for call in self.calls if ast.unparse(call.func).endswith((".skip", ".skipif"))
        ]
        return "\n".join(map(ast.unparse, skips))


def unexplained(file: str, text: str) -> set[str]:
    """Return the programs that a file starts, that may be missing, and that have no message."""
    words = text
    if file.endswith(".py"):
        module = Module(text)
        programs = module.programs()
        if file.startswith("tests/"):
            words = module.reasons_to_skip()
    elif file == "Makefile":
        programs = programs_in_makefile(text)
    else:
        programs = programs_in_shell(text)
    return {
        program
        for program in programs - FRESH - INSTALLERS
        if ("/" not in program or program.startswith("/"))
        and not re.search(rf"\b{re.escape(program)}( or \S+)? is not installed: \w", words)
    }


def test_a_missing_program_is_reported_with_its_install_command() -> None:
    wrong = {file: unexplained(file, (CHECKOUT / file).read_text()) for file in FILES}

    assert {file: programs for file, programs in wrong.items() if programs} == {}


SKIP = (
    "@pytest.mark.skipif(not shutil.which('jq'), reason='jq is not installed: apt-get install jq')"
)
WRONG = [
    ("tests/a.py", "import subprocess\nsubprocess.run(['jq', '.'])"),
    ("tests/a.py", "from subprocess import run as go\ngo(('jq', '.'))"),
    ("tests/a.py", "import asyncio\nasyncio.create_subprocess_exec('jq', '.')"),
    ("tests/a.py", "import shutil\nJQ = shutil.which('jq')"),
    ("tests/a.py", "import subprocess as s\nJ = ['jq']\ndef f(): s.Popen([*J, 'x'])"),
    ("tests/a.py", "import subprocess, asyncio\nasyncio.to_thread(subprocess.run, ['jq'])"),
    ("tests/a.py", "import subprocess\nsubprocess.run(['/usr/bin/jq', '.'])"),
    ("tests/a.py", "import subprocess\nsubprocess.run(['unshare', 'sh', '-ec', 'set -e; jq .'])"),
    ("tests/a.py", "start(shell='mkdir x && jq .')"),
    ("tests/a.py", "start(command=['jq'])"),
    ("tests/a.py", "import shutil\n# jq is not installed: apt-get install jq\nshutil.which('jq')"),
    ("scripts/a.py", "import os\nos.execvp('jq', ['jq'])"),
    ("Makefile", "all:\n\t@jq ."),
    ("Makefile", "JQ := jq\nall:\n\t-$(JQ) ."),
    ("Makefile", "all: x\n\t@touch x && \\\n\t\tX=1 jq . || true"),
    ("Makefile", "all:\n\t@for x in a b; do echo $$(cat x | jq .); done"),
    ("Makefile", "all:\n\t@command -v jq >/dev/null"),
    ("Makefile", "X := $(shell jq .)"),
    (".ci/run", "set -e\nif ! jq .; then exit 1; fi"),
]
RIGHT = [
    ("tests/a.py", f"import shutil, subprocess\n{SKIP}\ndef f(): subprocess.run(['jq'])"),
    ("tests/a.py", "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'jq'])"),
    ("scripts/a.py", "import shutil\nshutil.which('jq') or exit('jq is not installed: make jq')"),
    ("Makefile", "V := .venv\nall:\n\t@$(V)/bin/jq . && echo 'with jq; jq' > jq"),
    ("Makefile", "all:\n\t@case $$x in a|jq) ;; jq) echo jq;; esac"),
    (".ci/run", "cd x\nmake jq"),
]


@pytest.mark.parametrize("file, text", WRONG)
def test_the_check_finds_every_way_to_start_a_program(file: str, text: str) -> None:
    assert {Path(program).name for program in unexplained(file, text)} == {"jq"}


@pytest.mark.parametrize("file, text", RIGHT)
def test_the_check_accepts_explained_programs(file: str, text: str) -> None:
    assert unexplained(file, text) == set()


def test_a_command_runs_with_only_the_programs_of_a_fresh_machine(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert short_path.main(["bash", "-c", 'ls "$PATH" && exit 3']) == 3
    assert {*capfd.readouterr().out.split()} == {each for each in FRESH if shutil.which(each)}
    assert short_path.main(["wrk"]) == 2
