from __future__ import annotations

import hashlib
import re
from dataclasses import FrozenInstanceError
from pathlib import Path

import jsonschema
import pytest
import yaml

from server.config import ApiKey, ConfigError, Settings, load_settings
from server.config.inputs import ImageSettings, InputSettings
from server.config.outputs import OutputSettings
from server.config.schema import SCHEMA, SECTIONS, SETTINGS, plain

ROOT = Path(__file__).parents[2]


@pytest.fixture
def write(tmp_path):
    """Write the folder's config.yaml."""

    def write(text: str | bytes) -> None:
        data = text if isinstance(text, bytes) else text.encode()
        (tmp_path / "config.yaml").write_bytes(data)

    return write


def message_of(argv=(), environ=None, folder=Path("/nowhere")) -> str:
    """Return the message of the error that the settings cause."""
    with pytest.raises(ConfigError) as caught:
        load_settings(argv, environ or {}, folder)
    words = str(caught.value)
    assert "\n" not in words
    return words


def markdown_table() -> str:
    """Return the settings as docs/configuration.md shows them."""
    rows = [
        f"| `{item.name}` | `{plain(item.default_in_file)}` | "
        f"{item.sentence.replace('|', chr(92) + '|')} |"
        for item in SETTINGS
    ]
    return "\n".join(["| setting | default | what it does |", "|---|---|---|", *rows])


def test_without_any_source_the_defaults_are_used(tmp_path):
    assert load_settings([], {}, tmp_path) == Settings()


def test_the_defaults_are_those_that_were_measured():
    settings = Settings()

    assert (settings.http.host, settings.http.port) == ("127.0.0.1", 8888)
    assert settings.http.max_body_bytes == 8 * 1024 * 1024
    assert settings.http.max_header_bytes == 16 * 1024
    assert settings.batching.max_rows == "auto"
    assert settings.batching.queue_bytes == 256 * 1024 * 1024


def test_settings_cannot_be_changed(tmp_path):
    settings = load_settings([], {}, tmp_path)

    with pytest.raises(FrozenInstanceError):
        settings.http.port = 1


def test_flags_override_the_environment_which_overrides_the_file(tmp_path, write):
    write("http: {port: 1, host: one, idle_timeout_s: 1}\nbatching: {max_rows: 1}")
    environ = {"SERVER_HTTP__PORT": "2", "SERVER_HTTP__HOST": "two"}

    settings = load_settings(["--http.port", "3"], environ, tmp_path)

    assert settings.http.port == 3
    assert settings.http.host == "two"
    assert settings.http.idle_timeout_s == 1
    assert settings.batching.max_rows == 1
    assert settings.http.body_timeout_s == Settings().http.body_timeout_s


@pytest.mark.parametrize("item", SETTINGS, ids=lambda item: item.name)
def test_every_setting_can_be_set_in_all_three_ways(item, tmp_path, write):
    text = {"batching.max_rows": "7", "predict.non_finite": "as_null", "logging.level": "debug"}
    text |= {"http.transport": "tornado", "auth.api_keys": "one,sha256:" + "ab" * 32}
    text |= {"http.cors_origins": "https://a.example,http://b.example:3000"}
    text |= {"model.allow_signature_change": "true", "model.hang_timeout_s": "7"}
    text |= {"model.load_timeout_s": "7", "model.threads": "7", "model.keep_state": "true"}
    text |= {"model.engine": "auto", "batching.pad": "on"}
    text |= {"model.imports": "a.b,c", "model.allow_code": "true"}
    text |= {"http.root_path": "/a/b", "http.trusted_proxies": "10.0.0.0/8,unix"}
    text |= {"logging.format": "json", "logging.payload_sample": "0.5"}
    text |= {"model.sha256": "ab" * 32, "logging.payloads": "false", "logging.access": "false"}
    text |= {"logging.access_skip": "/metrics,/a/b", "models_strict": "true"}
    text |= {"model.inputs": "{x: {image: {resize: [2, 3], mean: 1, std: [2, 3], scale: 4}}}"}
    text |= {"model.outputs": "{y: {labels: [a, b], top_k: 1, threshold: 0.5}}"}
    told = text.get(item.name, "21" if isinstance(item.default, int) else "twenty-one")
    if item.key == "max_header_bytes":
        told = "2048"
    value = told if isinstance(item.default, str) and told != "7" else yaml.safe_load(told)
    if isinstance(item.default_in_file, list):
        value = told.split(",")

    by_flag = load_settings([item.flag, told], {}, tmp_path)
    by_variable = load_settings([], {item.variable: told}, tmp_path)
    write(yaml.safe_dump({item.section: {item.key: value}} if item.section else {item.key: value}))
    by_file = load_settings([], {}, tmp_path)

    if item.name == "auth.api_keys":
        value = [ApiKey.of(key) for key in value]
    if item.name == "model.inputs":
        image = ImageSettings(resize=(2, 3), mean=(1.0,), std=(2.0, 3.0), scale=4.0)
        value = [InputSettings("x", image)]
    if item.name == "model.outputs":
        value = [OutputSettings("y", ("a", "b"), 1, 0.5)]
    assert by_flag == by_variable == by_file
    given = getattr(getattr(by_flag, item.section) if item.section else by_flag, item.key)
    assert given == (tuple(value) if isinstance(value, list) else value) != item.default


@pytest.mark.parametrize("text", ["[a.b, c]", "[a.b,c]", "a.b,c"])
def test_a_list_is_written_alike_in_flags_variables_and_the_file(tmp_path, write, text):
    by_flag = load_settings(["--model.imports", text], {}, tmp_path)
    by_variable = load_settings([], {"SERVER_MODEL__IMPORTS": text}, tmp_path)
    write(f"model: {{imports: {text if text[0] == '[' else f'[{text}]'}}}")

    assert by_flag == by_variable == load_settings([], {}, tmp_path)
    assert by_flag.model.imports == ("a.b", "c")
    assert load_settings(["--model.imports", "[]"], {}, tmp_path).model.imports == ()


@pytest.mark.parametrize("word", ["auto", "on", "off", "'on'", "'off'"])
def test_on_and_off_are_words_though_yaml_reads_them_as_true_and_false(tmp_path, write, word):
    write(f"batching:\n  pad: {word}\n")

    assert load_settings([], {}, tmp_path).batching.pad == word.strip("'")


def test_the_types_are_the_declared_ones(tmp_path, write):
    write("http: {idle_timeout_s: 5, port: 5}\nbatching: {max_rows: 5}\nlogging: {access: no}")

    settings = load_settings(["--http.body_timeout_s", "6", "--model.version", "3"], {}, tmp_path)

    assert type(settings.http.idle_timeout_s) is float
    assert type(settings.http.body_timeout_s) is float
    assert type(settings.http.port) is int
    assert type(settings.batching.max_rows) is int
    assert settings.logging.access is False
    assert settings.model.version == "3"


@pytest.mark.parametrize(
    "argv",
    [
        ["a.keras"],
        ["a.keras", "--http.port", "1"],
        ["--http.port=1", "a.keras"],
        ["--http.port", "1", "a.keras", "--http.host", "h"],
        ["--model.path", "a.keras"],
    ],
)
def test_the_model_argument_may_stand_anywhere_among_the_flags(argv, tmp_path, write):
    write("model: {path: b.keras}")

    assert load_settings(argv, {"SERVER_MODEL__PATH": "c.keras"}, tmp_path).model.path == "a.keras"


def test_config_names_another_file(tmp_path, write):
    write("http: {port: 1}")
    (tmp_path / "other.yaml").write_text("http: {port: 2}")

    assert load_settings(["--config", "other.yaml"], {}, tmp_path).http.port == 2
    assert load_settings(["--config", str(tmp_path / "other.yaml")], {}, Path("/")).http.port == 2


@pytest.mark.parametrize("text", ["", "# nothing\n", "http:\nmodel:\n", "{}"])
def test_an_empty_file_or_section_changes_nothing(text, tmp_path, write):
    write(text)

    assert load_settings([], {}, tmp_path) == Settings()


def test_a_model_without_a_name_is_named_after_its_file(tmp_path):
    assert load_settings(["here/My Model.keras"], {}, tmp_path).model.served_name == "My Model"
    assert load_settings(["a.keras", "--model.name", "b"], {}, tmp_path).model.served_name == "b"
    assert load_settings(["\udcff.keras"], {}, tmp_path).model.served_name == "?"


def test_a_model_in_the_current_folder_is_named_after_that_folder(tmp_path, monkeypatch):
    (tmp_path / "exported").mkdir()
    monkeypatch.chdir(tmp_path / "exported")
    assert load_settings(["."], {}, tmp_path).model.served_name == "exported"
    assert load_settings(["~/m.keras"], {}, tmp_path).model.served_name == "m"


def test_several_models_are_given_in_a_list(tmp_path, write):
    write("models: [{path: a.keras}, {name: b, path: c/, version: '3'}]")

    sources = load_settings([], {}, tmp_path).sources

    assert [(each.served_name, each.path, each.version) for each in sources] == [
        ("a", "a.keras", ""),
        ("b", "c/", "3"),
    ]


def test_a_model_given_as_argument_overrides_the_list(tmp_path, write):
    write("models: [{path: a.keras}, {path: b.keras}]")

    for settings in (
        load_settings(["c.keras"], {}, tmp_path),
        load_settings([], {"SERVER_MODEL__PATH": "c.keras"}, tmp_path),
    ):
        assert [each.path for each in settings.sources] == ["c.keras"]


HASH = hashlib.sha256(b"secret").hexdigest()


def test_only_the_hash_of_a_key_is_kept(tmp_path, write):
    entry = f"{{name: ci, sha256: '{HASH.upper()}', allow: [repository, metrics]}}"
    write(f"auth: {{api_keys: [secret, 'sha256:{HASH}', {entry}]}}")

    settings = load_settings([], {}, tmp_path)

    plain, hashed, named = settings.auth.api_keys
    assert plain == hashed == ApiKey("", HASH, ("predict", "repository"))
    assert named == ApiKey("ci", HASH, ("repository", "metrics"))
    assert "secret" not in repr(settings)


@pytest.mark.parametrize(
    "entry",
    [
        "'my,secret'",
        "{name: ci, sha256: secret, allow: [predict]}",
        f"{{name: secret, sha256: '{HASH}'}}",
        f"{{name: secret, sha256: '{HASH}', allow: []}}",
        f"{{name: secret, sha256: '{HASH}', allow: predict}}",
        f"{{name: secret, sha256: '{HASH}', allow: [everything]}}",
        f"{{name: 'my secret', sha256: '{HASH}', allow: [predict]}}",
        f"{{name: ci, sha256: '{HASH}', allow: [predict], key: secret}}",
        f"{{sha256: '{HASH}', allow: [predict]}}",
        "{secret: 1}",
    ],
)
def test_a_wrong_key_is_not_shown(entry, tmp_path, write):
    write(f"auth: {{api_keys: [{entry}]}}")

    said = message_of(folder=tmp_path)

    assert "auth.api_keys[0]: the value is not a list of keys: each a mapping with name" in said
    assert "secret" not in said


@pytest.mark.parametrize(
    "text, words",
    [
        ("batching: {max_rows: 0}", "batching.max_rows: 0 is less than the minimum of 1"),
        ("batching: {max_rows: x}", "batching.max_rows: 'x' is not an integer or auto"),
        ("batching: {max_rows: true}", "batching.max_rows: true is not an integer or auto"),
        (
            "batching: {max_row: 0}",
            "batching.max_row: unknown setting (did you mean max_rows?)",
        ),
        ("htpp: {port: 1}", "htpp: unknown section (did you mean http?)"),
        ("1: {}", "1: unknown section"),
        ("http: {on: 1}", "http.true: unknown setting"),
        ("http: 3", "http: 3 is not a mapping of settings"),
        ("http: {port: true}", "http.port: true is not an integer"),
        ("http: {port: null}", "http.port: null is not an integer"),
        ("http: {port: 8e3}", "http.port: '8e3' is not an integer"),
        ("http: {port: 8000.0}", "http.port: 8000.0 is not an integer"),
        ("http: {port: 65536}", "http.port: 65536 is greater than the maximum of 65535"),
        ("http: {idle_timeout_s: .nan}", "http.idle_timeout_s: nan is not a finite number"),
        ("http: {idle_timeout_s: .inf}", "http.idle_timeout_s: inf is not a finite number"),
        ("http: {idle_timeout_s: true}", "http.idle_timeout_s: true is not a finite number"),
        ("http: {host: ''}", "http.host: must not be empty"),
        ("logging: {access: 1}", "logging.access: 1 is not true or false"),
        ("logging: {file: 1}", "logging.file: 1 is not a string (put it in quotes)"),
        (
            "predict: {non_finite: nul}",
            "predict.non_finite: 'nul' is not one of error, as_null",
        ),
        ("model: {sha256: abc}", "model.sha256: 'abc' is not a string of 64 hexadecimal digits"),
        (
            'model: {version: "2\\n"}',
            "model.version: '2\\n' is not a string of visible ASCII characters (put it in quotes)",
        ),
        ("models: {path: a}", "models: {'path': 'a'} is not a list of models"),
        ("models: [a.keras]", "models[0]: 'a.keras' is not a mapping with the path of a model"),
        ("models: [{path: a}, {name: b}]", "models[1]: the path of the model is missing"),
        ("models: [{path: ''}]", "models[0].path: must not be empty"),
        ("models: [{pth: a}]", "models[0].pth: unknown setting (did you mean path?)"),
        (
            "models: [{path: a, version: 3}]",
            "models[0].version: 3 is not a string of visible ASCII characters (put it in quotes)",
        ),
        (
            "models: [{path: a, name: b/c}]",
            "models[0].name: 'b/c' is not text without slashes and control characters",
        ),
        (
            "models: [{path: a/x.keras}, {path: b/x.keras}]",
            "models: two models are named x; give each its own name",
        ),
        (
            "model: {name: x}\nmodels: [{path: a}]",
            "models: model.name is set as well; move it into the list",
        ),
        ("model: {inputs: {x: {}}}", "model.inputs.x: 'image' is missing"),
        (
            "model: {inputs: {x: {image: {sise: 1}}}}",
            "model.inputs.x.image.sise: unknown setting (did you mean resize?)",
        ),
        (
            "model: {inputs: {x: {image: {resize: 224}}}}",
            "model.inputs.x.image.resize: 224 is not a list of height and width",
        ),
        (
            "models: [{path: a, inputs: {x: {image: {method: bilinar}}}}]",
            "models[0].inputs.x.image.method: 'bilinar' is not one of nearest, bilinear",
        ),
        (
            "model: {inputs: {x: {image: {std: 0}}}}",
            "model.inputs.x.image.std: 0 is not a number, or a list with a number for each channel",
        ),
        (
            "model: {inputs: {x: {image: {preset: keras.applications.mobilnet}}}}",
            "model.inputs.x.image.preset: 'keras.applications.mobilnet' is not one of keras.appl",
        ),
        ("model: {outputs: y}", "model.outputs: 'y' is not a mapping from names of outputs"),
        (
            "model: {outputs: {y: labels.txt}}",
            "model.outputs.y: 'labels.txt' is not a mapping with labels, and optionally top_k",
        ),
        ("model: {outputs: {y: {top_k: 3}}}", "model.outputs.y: 'labels' is missing"),
        (
            "model: {outputs: {y: {labels: 3}}}",
            "model.outputs.y.labels: 3 is not a list of labels, or the path of a file",
        ),
        (
            "models: [{path: a, outputs: {y: {labels: [a], top_k: 0}}}]",
            "models[0].outputs.y.top_k: 0 is less than the minimum of 1",
        ),
        (
            "models: [{path: a, outputs: {y: {labels: [a], top_k: many}}}]",
            "models[0].outputs.y.top_k: 'many' is not an integer",
        ),
        (
            "model: {outputs: {y: {labels: [a], treshold: 1}}}",
            "model.outputs.y.treshold: unknown setting (did you mean threshold?)",
        ),
        ("auth: {api_keys: secret}", "auth.api_keys: the value is not a list of keys"),
        ("auth: {api_keys: [secret, '']}", "auth.api_keys[1]: the value is not a list of keys"),
        ("auth: {api_keys: ['sha256:ab']}", "auth.api_keys[0]: the value is not a list of keys"),
        ("[1]", "[1] is not a mapping of sections"),
        ("http:\n  port: 1\n  port: 2", "line 3: port: given twice"),
        ("http: {}\nmodel: {}\nhttp: {}", "line 3: http: given twice"),
        ("http:\n\tport: 1", "line 2: while scanning for the next token: found character '\\t'"),
        ("http: {}\n--- {}", "line 2: expected a single document"),
        ("? [1]\n: 2", "line 1: while constructing a mapping: found unhashable key"),
        ("model: !!python/object/apply:os.system [id]", "line 1: could not determine"),
        ("http: {port: 2024-13-45}", "not YAML: month must be in 1..12"),
        (b"http: {host: \x80}", "not YAML: unacceptable character #x0080"),
        ("[" * 5000, "not YAML: maximum recursion depth exceeded"),
    ],
)
def test_an_error_in_the_file_is_named(text, words, tmp_path, write):
    write(text)

    assert message_of(folder=tmp_path).startswith(f"config.yaml: {words}")


def test_an_error_in_the_file_counts_even_if_a_flag_overrides_it(tmp_path, write):
    write("http: {port: x}")

    assert "http.port" in message_of(["--http.port", "1"], folder=tmp_path)


def test_a_long_invalid_value_is_shortened(tmp_path, write):
    write(f"http: {{port: '{'9' * 5000}'}}")

    assert len(message_of(folder=tmp_path)) < 200


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "config.yaml").mkdir()

    assert message_of(folder=tmp_path) == "config.yaml: cannot be read: Is a directory"
    assert message_of(["--config", "no.yaml"]) == "no.yaml: cannot be read: no such file"


@pytest.mark.parametrize(
    "environ, words",
    [
        ({"SERVER_HTTP__PORT": "abc"}, "SERVER_HTTP__PORT: 'abc' is not an integer"),
        ({"SERVER_HTTP__PORT": ""}, "SERVER_HTTP__PORT: '' is not an integer"),
        ({"SERVER_HTTP__PORT": " 1"}, "SERVER_HTTP__PORT: ' 1' is not an integer"),
        ({"SERVER_HTTP__PORT": "1_0"}, "SERVER_HTTP__PORT: '1_0' is not an integer"),
        ({"SERVER_HTTP__PORT": "8e3"}, "SERVER_HTTP__PORT: '8e3' is not an integer"),
        ({"SERVER_HTTP__IDLE_TIMEOUT_S": "nan"}, "SERVER_HTTP__IDLE_TIMEOUT_S: 'nan' is not a"),
        ({"SERVER_HTTP__IDLE_TIMEOUT_S": "1e999"}, "SERVER_HTTP__IDLE_TIMEOUT_S: inf is not a"),
        ({"SERVER_LOGGING__ACCESS": "True"}, "SERVER_LOGGING__ACCESS: 'True' is not true or false"),
        (
            {"SERVER_HTTP__PROT": "1"},
            "SERVER_HTTP__PROT: unknown setting (did you mean SERVER_HTTP__PORT?)",
        ),
        (
            {"SERVER_HTPP__PORT": "1"},
            "SERVER_HTPP__PORT: unknown setting (did you mean SERVER_HTTP__PORT?)",
        ),
        (
            {"SERVER_HTTP__port": "1"},
            "SERVER_HTTP__port: unknown setting (did you mean SERVER_HTTP__PORT?)",
        ),
    ],
)
def test_an_error_in_the_environment_is_named(environ, words):
    assert message_of(environ=environ).startswith(f"environment {words}")


def test_variables_injected_by_an_orchestrator_are_ignored(tmp_path):
    injected = {
        "SERVER_PORT": "tcp://10.0.0.1:8888",
        "SERVER_PORT_8888_TCP": "tcp://10.0.0.1:8888",
        "SERVER_SERVICE_HOST": "10.0.0.1",
        "SERVER_": "",
        "SERVER_FOO__BAR": "1",
        "MY_SERVER_HTTP__PORT": "x",
    }

    assert load_settings([], injected, tmp_path) == Settings()


@pytest.mark.parametrize(
    "argv, words",
    [
        (["--http.port", "abc"], "--http.port: 'abc' is not an integer"),
        (["--http.port", "-1"], "--http.port: -1 is less than the minimum of 0"),
        (["--http.port"], "--http.port: expected one argument"),
        (["--http.prot", "1"], "--http.prot: unknown flag (did you mean --http.port?)"),
        (["--http.por=1"], "--http.por: unknown flag (did you mean --http.port?)"),
        (["-x"], "-x: unknown flag"),
        (
            ["a.keras", "b.keras"],
            "b.keras: only one MODEL can be given; list several under models in the file",
        ),
        (
            ["a.keras", "--model.path", "b.keras"],
            "--model.path: MODEL is given as well; use one of them",
        ),
        ([""], "MODEL: must not be empty"),
    ],
)
def test_an_error_in_the_flags_is_named(argv, words):
    assert message_of(argv) == words


def test_help_shows_every_flag_with_its_sentence_and_default(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        load_settings(["--help"], {}, tmp_path)

    out, err = capsys.readouterr()
    words = " ".join(out.split())
    assert ended.value.code == 0
    assert err == ""
    assert out.startswith("usage: python -m server [MODEL] [--config FILE] [--section.key VALUE")
    assert max(map(len, out.splitlines())) <= 80
    for item in SETTINGS:
        assert f"{item.flag} {item.type.metavar} {item.sentence}" in words
        assert f"{item.sentence} (default: {plain(item.default_in_file)})" in words


def test_the_schema_is_valid_and_accepts_the_defaults():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    defaults = {section: {} for section in SECTIONS}
    for item in SETTINGS:
        section = defaults[item.section] if item.section else defaults
        section[item.key] = item.default_in_file

    jsonschema.Draft202012Validator(SCHEMA).validate(defaults)


def test_config_yaml_holds_every_setting_with_its_default_and_sentence():
    text = (ROOT / "config.yaml").read_text(encoding="utf-8")
    sentences = re.findall(r"^ *# (.*)\n *(\w+): .*$", text, re.MULTILINE)
    document = yaml.safe_load(text)

    assert document.pop("models") == []
    beside = {key: document.pop(key) for key in list(document) if key not in SECTIONS}
    shown = [(s, key) for s in document for key in document[s]] + [("", key) for key in beside]
    assert shown == [(item.section, item.key) for item in SETTINGS]
    names = [item.key for item in SETTINGS]
    assert [pair for pair in sentences if pair[1] in names] == [
        (item.sentence, item.key) for item in SETTINGS
    ]
    for item in SETTINGS:
        value = document[item.section][item.key] if item.section else beside[item.key]
        default = item.default_in_file
        assert (type(value), value) == (type(default), default), item.name


def test_config_yaml_can_be_read():
    assert load_settings([], {}, ROOT) == Settings()


def test_the_documentation_shows_the_settings_as_they_are():
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    shown = re.search(r"<!-- settings -->\n(.*?)\n<!-- /settings -->", text, re.DOTALL)

    assert shown is not None, "no <!-- settings --> … <!-- /settings -->"
    assert shown[1].strip() == markdown_table()


@pytest.mark.parametrize(
    "flags, seconds",
    [
        ([], 30),
        (["--batching.deadline_ms", "500"], 0.5),
        (["--model.hang_timeout_s", "0.7"], 0.7),
        (["--model.hang_timeout_s", "0"], 0),
    ],
)
def test_the_hang_timeout_is_the_deadline_by_default(flags, seconds, tmp_path):
    assert load_settings(flags, {}, tmp_path).hang_timeout == seconds
