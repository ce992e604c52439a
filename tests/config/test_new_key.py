"""`python -m server key`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from server.config import load_settings
from server.config.new_key import main
from server.errors import NotForThisKey
from server.http.auth import PREDICT, ApiKeys

CHECKOUT = Path(__file__).parents[2]


def test_the_printed_entry_works_in_the_settings(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code = main(["prometheus", "--allow", "metrics,repository"])
    key, _, rest = capsys.readouterr().out.partition("\n")
    (tmp_path / "config.yaml").write_text(rest[rest.index("auth:") :])
    keys = ApiKeys(load_settings([], {}, tmp_path).auth.api_keys)

    assert code == 0
    assert key not in rest
    assert keys.check({"x-api-key": key}, "metrics") == "prometheus"
    with pytest.raises(NotForThisKey):
        keys.check({"x-api-key": key}, PREDICT)


def test_a_key_allows_only_predictions_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    printed = capsys.readouterr().out
    (entry,) = yaml.safe_load(printed[printed.index("auth:") :])["auth"]["api_keys"]

    assert (entry["name"], entry["allow"]) == ("client", ["predict"])


def test_no_two_keys_are_the_same_and_all_are_long(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(100):
        main([])
    keys = re.findall(r"^([\w-]+)\n\nThis is the key", capsys.readouterr().out, re.MULTILINE)

    assert len(set(keys)) == 100
    assert min(map(len, keys)) >= 43  # 256 bits


@pytest.mark.parametrize(
    "argv, words",
    [
        (["a b"], "a name has 1 to 64 of"),
        (["x", "--allow", "everything"], "'everything' is not one of predict, repository, metrics"),
        (["x", "--allow", ""], "'' is not one of"),
    ],
)
def test_an_error_is_named(argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(argv)

    assert ended.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.process
def test_it_is_a_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "server", "key", "app"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert '"name": "app"' in done.stdout
