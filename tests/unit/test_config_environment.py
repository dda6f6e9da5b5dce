"""Overrides, the default of the state directory, and tokens that need no file."""

import pytest
from pydantic import SecretStr

from lorawatch.config import AIToolkitSourceConfig, ComfyUIMcpDestinationConfig
from lorawatch.config_environment import apply_overrides, default_state_directory, token_for
from lorawatch.config_problems import Table
from lorawatch.domain.errors import ConfigurationError

SERVER = ComfyUIMcpDestinationConfig(
    name="render-box", kind="comfyui-mcp", url="http://box:8189", token=SecretStr("from-file")
)
SOURCE = AIToolkitSourceConfig(name="render-box", kind="aitoolkit-mcp", url="http://box:8190")


def tables() -> Table:
    return {
        "watch": {"poll_seconds": 3},
        "destinations": [
            {"name": "comfyui", "kind": "directory"},
            {"name": "render-box", "kind": "comfyui-mcp"},
        ],
        "sources": [{"name": "training-box", "kind": "aitoolkit-mcp"}],
    }


@pytest.mark.parametrize(
    ("variable", "text", "section", "key", "value"),
    [
        ("LORAWATCH_WATCH__QUIET_SECONDS", "1", "watch", "quiet_seconds", 1.0),
        ("LORAWATCH_WATCH__POLL_SECONDS", " 0.5 ", "watch", "poll_seconds", 0.5),
        ("LORAWATCH_WATCH__RETIRE", "true", "watch", "retire", True),
        ("LORAWATCH_WATCH__MODE", "polling", "watch", "mode", "polling"),
        ("LORAWATCH_WATCH__DIRECTORIES", "/a, /b c", "watch", "directories", ["/a", "/b c"]),
        ("LORAWATCH_WATCH__DIRECTORIES", '["/a, b"]', "watch", "directories", ["/a, b"]),
        ("LORAWATCH_WATCH__EXCLUDE", "", "watch", "exclude", []),
        ("LORAWATCH_WATCH__EXCLUDE", "[ab]*.safetensors", "watch", "exclude", ["[ab]*.safetensors"]),
        ("LORAWATCH_INSPECT__MAX_HEADER_BYTES", "4096", "inspect", "max_header_bytes", 4096),
        ("LORAWATCH_INSPECT__MAX_HEADER_BYTES", "4k", "inspect", "max_header_bytes", "4k"),
    ],
)
def test_an_override_becomes_what_its_key_takes(
    variable: str, text: str, section: str, key: str, value: object
) -> None:
    given = tables()
    origins, problems = apply_overrides(given, {variable: text})
    changed = given[section]
    assert isinstance(changed, dict)
    assert changed[key] == value
    assert type(changed[key]) is type(value)
    assert origins == {(section, key): f"${variable}"}
    assert problems == []


def test_entries_of_arrays_are_found_by_name() -> None:
    given = tables()
    environ = {
        "LORAWATCH_DESTINATIONS__RENDER_BOX__URL": "http://other:8189",
        "LORAWATCH_DESTINATIONS__RENDER_BOX__TOKEN": "12345",
        "LORAWATCH_DESTINATIONS__COMFYUI__KINDS": "lora,vae",
        "LORAWATCH_SOURCES__TRAINING_BOX__URL": "http://other:8190",
    }
    origins, problems = apply_overrides(given, environ)
    assert problems == []
    assert given["destinations"] == [
        {"name": "comfyui", "kind": "directory", "kinds": ["lora", "vae"]},
        {"name": "render-box", "kind": "comfyui-mcp", "url": "http://other:8189", "token": "12345"},
    ]
    assert given["sources"] == [{"name": "training-box", "kind": "aitoolkit-mcp", "url": "http://other:8190"}]
    assert set(origins.values()) == {f"${variable}" for variable in environ}


def test_two_hyphens_in_a_name_are_no_separator() -> None:
    given: Table = {"destinations": [{"name": "a--b", "kind": "directory"}]}
    assert apply_overrides(given, {"LORAWATCH_DESTINATIONS__A__B__DIRECTORY": "/x"})[1] == []
    assert given["destinations"] == [{"name": "a--b", "kind": "directory", "directory": "/x"}]


def test_the_state_directory_stands_in_no_section() -> None:
    given = tables()
    apply_overrides(given, {"LORAWATCH_STATE_DIRECTORY": "/state"})
    assert given["state_directory"] == "/state"


@pytest.mark.parametrize(
    ("variable", "wrong", "fix"),
    [
        (
            "LORAWATCH_DESTINATIONS__RENDERBOX__URL",
            "names renderbox, which is none of the destinations",
            "Did you mean render-box?",
        ),
        (
            "LORAWATCH_SOURCES__XYZ__URL",
            "names xyz, which is none of the sources",
            "There are training-box",
        ),
        (
            "LORAWATCH_LOG_LEVEL",
            "overrides nothing",
            "Write LORAWATCH_LOG__LEVEL, with two underscores",
        ),
        (
            "LORAWATCH_DESTINATIONS_COMFYUI_URL",
            "overrides nothing",
            "Write LORAWATCH_DESTINATIONS__<NAME>__<KEY>, with two underscores",
        ),
    ],
)
def test_an_override_that_leads_nowhere_is_a_problem(variable: str, wrong: str, fix: str) -> None:
    assert apply_overrides(tables(), {variable: "x"})[1] == [(f"${variable}", wrong, fix)]


def test_other_variables_of_lorawatch_are_no_overrides() -> None:
    given = tables()
    environ = {
        "LORAWATCH_CONFIG": "/x",
        "LORAWATCH_TOKEN_A__B": "x",
        "LORAWATCH_REQUIRE_SYSTEM": "1",
        "LORAWATCH_BENCHMARK__ROUNDS": "5",
        "PATH": "/bin",
    }
    assert apply_overrides(given, environ) == ({}, [])
    assert given == tables()


def test_an_override_does_not_repair_a_section_of_the_wrong_type() -> None:
    given: Table = {"watch": 5, "destinations": {"name": "comfyui"}}
    apply_overrides(given, {"LORAWATCH_WATCH__MODE": "auto"})
    assert given["watch"] == 5


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"STATE_DIRECTORY": "/var/lib/lorawatch:/var/lib/other", "HOME": "/h"}, "/var/lib/lorawatch"),
        ({"XDG_STATE_HOME": "/x", "HOME": "/h"}, "/x/lorawatch"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/h"}, "/h/.local/state/lorawatch"),
        ({"HOME": "/h"}, "/h/.local/state/lorawatch"),
    ],
)
def test_the_state_lies_where_systemd_or_the_desktop_wants_it(environ: dict[str, str], expected: str) -> None:
    assert default_state_directory(environ) == expected


def test_a_token_from_the_environment_goes_before_that_of_the_file() -> None:
    assert token_for(SERVER, {}).get_secret_value() == "from-file"
    assert token_for(SERVER, {"LORAWATCH_TOKEN_RENDER_BOX": "from-env\n"}).get_secret_value() == "from-env"
    assert not token_for(SOURCE, {})


def test_a_token_that_no_header_can_carry_is_refused_without_being_shown() -> None:
    with pytest.raises(ConfigurationError) as raised:
        token_for(SOURCE, {"LORAWATCH_TOKEN_RENDER_BOX": "hush\r\nX-Evil: hush"})
    assert raised.value.problems[0][:2] == (
        "sources.render-box.token",
        "$LORAWATCH_TOKEN_RENDER_BOX must be printable ASCII without spaces",
    )
    assert "hush" not in str(raised.value)
