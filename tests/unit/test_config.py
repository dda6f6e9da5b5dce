"""The models by themselves, and the example that documents them."""

import os
import re
import tomllib
from collections.abc import Iterator

import pydantic
import pytest

from lorawatch.config import (
    ARRAYS,
    TABLES,
    AIToolkitSourceConfig,
    ComfyUIMcpDestinationConfig,
    Config,
    DirectoryDestinationConfig,
    DockerDestinationConfig,
    RetryConfig,
    WatchConfig,
    changes_needing_restart,
)

EXAMPLE = os.path.join(os.path.dirname(__file__), "..", "..", "config.example.toml")
# Where the example shows a value for this one machine, not the default.
NOT_DEFAULTS = {"state_directory", "directories", "name", "kind", "directory", "url", "container", "enabled", "kinds"}


def example_text() -> str:
    with open(EXAMPLE, encoding="utf-8") as stream:
        return stream.read()


def example_entries(array: str) -> dict[str, dict[str, object]]:
    return {entry["kind"]: entry for entry in tomllib.loads(example_text())[array]}


def documented() -> Iterator[tuple[type[pydantic.BaseModel], dict[str, object]]]:
    """Each model with the keys that the example shows for it."""
    tables = tomllib.loads(example_text())
    yield Config, tables
    for section, model in TABLES.items():
        yield model, tables[section]
    common = example_entries("destinations")["directory"]
    for kind, model in ARRAYS["destinations"].items():
        shared = {key: common[key] for key in common if key in model.model_fields}
        yield model, shared | example_entries("destinations")[kind]
    for kind, model in ARRAYS["sources"].items():
        yield model, example_entries("sources")[kind]


def test_the_example_names_every_key_of_every_model_and_no_other() -> None:
    for model, shown in documented():
        assert set(shown) == set(model.model_fields), model.__name__


def test_the_example_shows_the_defaults() -> None:
    for model, shown in documented():
        for key, field in model.model_fields.items():
            if key in NOT_DEFAULTS or model is Config or field.is_required():
                continue
            default = field.default.get_secret_value() if key == "token" else field.default
            assert shown[key] == (list(default) if isinstance(default, tuple) else default), f"{model.__name__}.{key}"


def test_each_key_of_the_example_has_a_comment_with_it_or_above_its_group() -> None:
    previous = ""
    for line in example_text().splitlines():
        is_key = re.match(r"[a-z_]+ = ", line)
        is_introduced = previous.startswith(("#", "[[")) or re.match(r"[a-z_]+ = ", previous)
        assert not is_key or "#" in line or is_introduced, line
        previous = line


def test_the_example_loads_with_nothing_enabled_that_leaves_the_machine() -> None:
    tables = tomllib.loads(example_text())
    del tables["state_directory"]
    config = Config.model_validate(tables)
    assert [one.kind for one in config.destinations if one.enabled] == ["directory"]
    assert not [one for one in config.sources if one.enabled]


def test_a_model_cannot_be_changed() -> None:
    watch = WatchConfig()
    with pytest.raises(pydantic.ValidationError):
        watch.poll_seconds = 3  # type: ignore[misc]  # mypy sees it too


def test_whole_numbers_are_fine_for_seconds_but_texts_are_not() -> None:
    assert RetryConfig.model_validate({"first_seconds": 2, "max_seconds": 2.5}).max_seconds == 2.5
    with pytest.raises(pydantic.ValidationError):
        RetryConfig.model_validate({"first_seconds": "2"})


def test_an_empty_list_of_kinds_means_those_of_inspect() -> None:
    entry = {"name": "a", "kind": "directory", "directory": "/a"}
    assert DirectoryDestinationConfig.model_validate(entry | {"kinds": []}).kinds is None
    assert DirectoryDestinationConfig.model_validate(entry | {"kinds": ["vae"]}).kinds == ("vae",)


def test_the_kind_of_an_entry_decides_over_its_model() -> None:
    config = Config.model_validate(
        {
            "destinations": [
                {"name": "a", "kind": "directory", "directory": "/a"},
                {"name": "b", "kind": "comfyui-mcp", "url": "https://b:8189/base/"},
                {"name": "c", "kind": "docker", "container": "c", "directory": "/c/"},
            ],
            "sources": [{"name": "s", "kind": "aitoolkit-mcp", "url": "http://[::1]:8190"}],
        }
    )
    directory, server, docker = config.destinations
    assert isinstance(directory, DirectoryDestinationConfig)
    assert isinstance(server, ComfyUIMcpDestinationConfig)
    assert isinstance(docker, DockerDestinationConfig)
    assert isinstance(config.sources[0], AIToolkitSourceConfig)
    assert server.url == "https://b:8189/base"
    assert docker.directory == "/c"


def test_a_token_is_in_no_representation() -> None:
    server = ComfyUIMcpDestinationConfig(name="b", kind="comfyui-mcp", url="http://b", token=pydantic.SecretStr("hush"))
    assert "hush" not in f"{server!r} {server} {server.model_dump()} {server.model_dump_json()}"


def test_only_the_state_directory_needs_a_restart() -> None:
    old = Config(state_directory="/old")
    assert changes_needing_restart(old, Config(state_directory="/old", watch=WatchConfig(poll_seconds=1))) == []
    assert changes_needing_restart(old, Config(state_directory="/new")) == ["state_directory"]
