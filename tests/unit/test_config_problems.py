"""What people read when their configuration is wrong."""

import tomllib
from collections.abc import Mapping
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lorawatch.config import Kind
from lorawatch.config_environment import apply_overrides
from lorawatch.config_problems import Problem
from lorawatch.config_types import BASE_DIRECTORY, HOME_DIRECTORY
from lorawatch.config_validation import validate
from lorawatch.domain.errors import ConfigurationError

WATCH = '[watch]\ndirectories = ["/srv/outputs"]\n'
DIRECTORY = '[[destinations]]\nname = "comfyui"\nkind = "directory"\ndirectory = "/srv/loras"\n'
SERVER = '[[destinations]]\nname = "render-box"\nkind = "comfyui-mcp"\nurl = "http://box:8189"\n'
DOCKER = '[[destinations]]\nname = "cage"\nkind = "docker"\ncontainer = "cage"\ndirectory = "/loras"\n'
SOURCE = '[[sources]]\nname = "trainer"\nkind = "aitoolkit-mcp"\nurl = "http://box:8190"\n'


def problems_in(text: str, environ: Mapping[str, str] | None = None) -> list[Problem]:
    tables = tomllib.loads(text)
    origins, problems = apply_overrides(tables, environ or {})
    config, wrong = validate(tables, context={BASE_DIRECTORY: "/etc", HOME_DIRECTORY: "/home/me"}, origins=origins)
    assert (config is None) == bool(wrong)
    return problems + wrong


def test_a_whole_configuration_has_no_problems() -> None:
    assert problems_in(WATCH + DIRECTORY + SERVER + DOCKER + SOURCE) == []


@pytest.mark.parametrize(
    ("text", "path", "wrong", "fix"),
    [
        (
            WATCH + "quiet_seconds = -1\n" + DIRECTORY,
            "watch.quiet_seconds",
            "is -1, must be above 0",
            "Write for example 2",
        ),
        (
            WATCH + "poll_seconds = 0\n" + DIRECTORY,
            "watch.poll_seconds",
            "is 0, must be above 0",
            "Write for example 10",
        ),
        (
            WATCH + 'reconcile_seconds = "5"\n' + DIRECTORY,
            "watch.reconcile_seconds",
            'is "5", must be a number',
            "Write for example 300",
        ),
        (
            WATCH + "poll_seconds = nan\n" + DIRECTORY,
            "watch.poll_seconds",
            "is NaN, must be a finite number",
            "Write for example 10",
        ),
        (
            WATCH + "poll_seconds = 1e12\n" + DIRECTORY,
            "watch.poll_seconds",
            "is 1000000000000.0, must be at most 31536000",
            "Write for example 10",
        ),
        (
            WATCH + "quiet_secs = 2\n" + DIRECTORY,
            "watch.quiet_secs",
            "is not a known key",
            "Did you mean quiet_seconds?",
        ),
        (
            WATCH + "kinds = []\n" + DIRECTORY,
            "watch.kinds",
            "is not a known key",
            "It belongs in [inspect]",
        ),
        (
            "quiet_seconds = 2\n" + WATCH + DIRECTORY,
            "quiet_seconds",
            "is not a known key",
            "It belongs in [watch]",
        ),
        (
            WATCH + DIRECTORY + "chunk_bytes = 0\n",
            "destinations.comfyui.chunk_bytes",
            "is not a known key",
            'It belongs in [[destinations]] with kind = "comfyui-mcp"',
        ),
        (
            "[log]\nxyzzy = 1\n" + WATCH + DIRECTORY,
            "log.xyzzy",
            "is not a known key",
            "Known here are level, format, file",
        ),
        (
            WATCH + 'mode = "inotfy"\n' + DIRECTORY,
            "watch.mode",
            'is "inotfy", must be one of auto, inotify, polling',
            "Did you mean inotify?",
        ),
        (
            '[log]\nlevel = "INFO"\n' + WATCH + DIRECTORY,
            "log.level",
            'is "INFO", must be one of debug, info, warning, error',
            "Did you mean info?",
        ),
        (
            WATCH + "retire = 1\n" + DIRECTORY,
            "watch.retire",
            "is 1, must be true or false",
            "Write for example false",
        ),
        (
            WATCH + "retire = true\n" + DIRECTORY,
            "watch.retire",
            'is true, does nothing with checkpoints = "all"',
            'Write checkpoints = "latest:4", or retire = false',
        ),
        (
            WATCH + 'checkpoints = "latest:0"\n' + DIRECTORY,
            "watch.checkpoints",
            'is "latest:0", must be all, final, or latest:N with N at least 1',
            'Write for example "latest:4"',
        ),
        (
            WATCH + 'exclude = ["ok", "!"]\n' + DIRECTORY,
            "watch.exclude",
            'entry 2 is "!", must be a pattern with the rules of .gitignore',
            'Write for example "**/*.safetensors"',
        ),
        (
            WATCH + 'exclude = ["[z-a]"]\n' + DIRECTORY,
            "watch.exclude",
            'entry 1 is "[z-a]", must be a pattern with the rules of .gitignore',
            'Write for example "**/*.safetensors"',
        ),
        (
            WATCH + "include = []\n" + DIRECTORY,
            "watch.include",
            "is empty, must have at least one entry",
            'Write for example ["**/*.safetensors"]',
        ),
        (
            WATCH + 'include = "*.safetensors"\n' + DIRECTORY,
            "watch.include",
            'is "*.safetensors", must be a list',
            'Write for example ["**/*.safetensors"]',
        ),
        (
            '[inspect]\nkinds = ["loar"]\n' + WATCH + DIRECTORY,
            "inspect.kinds",
            f'entry 1 is "loar", must be one of {", ".join(get_args(Kind))}',
            "Did you mean lora?",
        ),
        (
            "[inspect]\nmax_header_bytes = 200_000_000\n" + WATCH + DIRECTORY,
            "inspect.max_header_bytes",
            "is 200000000, must be at most 100000000",
            "Write for example 16777216",
        ),
        (
            "[retry]\nfirst_seconds = 400\n" + WATCH + DIRECTORY,
            "retry.max_seconds",
            "is 300, must be at least first_seconds (400)",
            "Write for example 400",
        ),
        (
            "[[retry]]\n" + WATCH + DIRECTORY,
            "retry",
            "must be a table",
            "Write [retry], with one bracket, and its keys below",
        ),
        (
            DIRECTORY.replace("[[destinations]]", "[destinations]") + WATCH,
            "destinations",
            "must be an array of tables",
            "Write [[destinations]], with two brackets",
        ),
        (
            WATCH + DIRECTORY.replace('"comfyui"', '"ComfyUI!"'),
            "destinations.ComfyUI!.name",
            'is "ComfyUI!", must be made of a-z, 0-9 and - only',
            'Write for example "render-box"',
        ),
        (
            WATCH + DIRECTORY.replace('name = "comfyui"', ""),
            "destinations.#1.name",
            "is missing",
            'Write for example "comfyui"',
        ),
        (
            WATCH + DIRECTORY.replace('directory = "/srv/loras"', ""),
            "destinations.comfyui.directory",
            "is missing",
            'Write for example "/comfyui/models/loras"',
        ),
        (
            WATCH + DIRECTORY.replace("/srv/loras", ""),
            "destinations.comfyui.directory",
            'is "", must be a path',
            'Write for example "/comfyui/models/loras"',
        ),
        (
            WATCH + DIRECTORY.replace("/srv/loras", "~no-such-user/loras"),
            "destinations.comfyui.directory",
            'is "~no-such-user/loras", names a user whose home directory is unknown',
            "Write the whole path, from / on",
        ),
        (
            WATCH + DIRECTORY.replace('kind = "directory"', ""),
            "destinations.comfyui.kind",
            "is missing",
            "Write one of directory, comfyui-mcp, docker",
        ),
        (
            WATCH + DIRECTORY.replace('"directory"', '"dokcer"'),
            "destinations.comfyui.kind",
            'is "dokcer", must be one of directory, comfyui-mcp, docker',
            "Did you mean docker?",
        ),
        (
            WATCH + DIRECTORY + "file_mode = 664\n",
            "destinations.comfyui.file_mode",
            "is 664, must be a text in quotes",
            'Write for example "0664"',
        ),
        (
            WATCH + DIRECTORY + 'file_mode = "0684"\n',
            "destinations.comfyui.file_mode",
            'is "0684", must be three octal digits, as for chmod',
            'Write for example "0664"',
        ),
        (
            WATCH + DIRECTORY + 'file_mode = "0044"\n',
            "destinations.comfyui.file_mode",
            'is "0044", must let the owner read: every copy is read again before it counts',
            'Write for example "0664"',
        ),
        (
            WATCH + DIRECTORY + "min_free_bytes = -1\n",
            "destinations.comfyui.min_free_bytes",
            "is -1, must be at least 0",
            "Write for example 5000000000",
        ),
        (
            WATCH + DIRECTORY + 'name_template = "{familly}/{stem}"\n',
            "destinations.comfyui.name_template",
            'is "{familly}/{stem}", has the unknown placeholder {familly}',
            "Did you mean family?",
        ),
        (
            WATCH + DIRECTORY + 'name_template = "{stem"\n',
            "destinations.comfyui.name_template",
            'is "{stem", has a { or } that does not belong to a placeholder',
            'Write for example "{family}/{file_name}"',
        ),
        (
            WATCH + DIRECTORY + 'name_template = "../{stem}"\n',
            "destinations.comfyui.name_template",
            'is "../{stem}", must be a relative name without empty, "." or ".." parts, and must not begin with a dot',
            'Write for example "{family}/{file_name}"',
        ),
        (
            WATCH + SERVER + 'name_template = "a/{stem}"\n',
            "destinations.render-box.name_template",
            'is "a/{stem}", must not contain / or \\: these servers know no directories',
            'Write for example "a-{stem}"',
        ),
        (
            WATCH + DIRECTORY + 'refresh = "always"\n',
            "destinations.comfyui.refresh",
            'is "always", has no ComfyUI to refresh: comfyui_url is empty',
            'Write for example comfyui_url = "http://127.0.0.1:8188"',
        ),
        (
            WATCH + SERVER + "chunk_bytes = 1000\n",
            "destinations.render-box.chunk_bytes",
            "is 1000, must be 0 (find the best by itself) or from 16384 to 67108864",
            "Write for example 262144",
        ),
        (
            WATCH + SERVER + 'api = "direct"\nparallel_chunks = 4\n',
            "destinations.render-box.parallel_chunks",
            'is 4, does nothing with api = "direct", which knows no chunks',
            "Write 1",
        ),
        (
            WATCH + SERVER.replace("http://", ""),
            "destinations.render-box.url",
            "must be http:// or https://, a host, and where needed a port and a path",
            'Write for example "http://192.168.0.152:8189"',
        ),
        (
            WATCH + SERVER.replace(":8189", ":99999"),
            "destinations.render-box.url",
            "must be http:// or https://, a host, and where needed a port and a path",
            'Write for example "http://192.168.0.152:8189"',
        ),
        (
            WATCH + DOCKER + 'volume = "models"\n',
            "destinations.cage.volume",
            'is "models", but container is "cage": only one can be used',
            'Write volume = "", or container = ""',
        ),
        (
            WATCH + DOCKER.replace('container = "cage"', ""),
            "destinations.cage.volume",
            'is "", and so is container: one of them is needed',
            'Write for example container = "comfyui"',
        ),
        (
            WATCH + DOCKER.replace('container = "cage"', 'container = "--rm"'),
            "destinations.cage.container",
            "is \"--rm\", must be a container's or volume's name: letters, digits, _ . -",
            'Write for example "comfyui"',
        ),
        (
            WATCH + DOCKER.replace('"/loras"', '"../loras"'),
            "destinations.cage.directory",
            'is "../loras", must be an absolute path inside the container, without ".."',
            'Write for example "/comfyui/models/loras"',
        ),
        (
            WATCH + DOCKER.replace("container", "volume") + 'owner = "artist"\n',
            "destinations.cage.owner",
            'is "artist", is a name, and a volume knows only numbers',
            'Write for example "1000:1000"',
        ),
        (
            WATCH + DOCKER.replace("container", "volume") + "copy_into_stopped = true\n",
            "destinations.cage.copy_into_stopped",
            "is true, does nothing with a volume, which never stops",
            "Write false",
        ),
        (
            WATCH + DOCKER + 'owner = "artist"\ncopy_into_stopped = true\n',
            "destinations.cage.copy_into_stopped",
            "is true, needs `owner` in numbers: nothing in a stopped container knows names",
            'Write owner = "1000:1000"',
        ),
        (
            WATCH + DOCKER + 'docker_host = "docker.sock"\n',
            "destinations.cage.docker_host",
            'is "docker.sock", must be unix:///…, tcp://… or ssh://…, as in $DOCKER_HOST',
            'Write for example "unix:///run/user/1000/docker.sock"',
        ),
        (
            WATCH + DIRECTORY + DIRECTORY.replace("/srv/loras", "/srv/other"),
            "destinations.comfyui.name",
            "is given to two destinations",
            "Give each its own name",
        ),
        (
            WATCH + DOCKER + DOCKER.replace('"cage"', '"twin"', 1),
            "destinations.twin.directory",
            "/loras is also destinations.cage.directory, and two destinations may not share a directory",
            "Merge the two, or disable one with enabled = false",
        ),
        (
            WATCH,
            "destinations",
            "there is none, so nothing could be delivered",
            "Add a [[destinations]] table",
        ),
        (
            WATCH + DIRECTORY + "enabled = false\n",
            "destinations",
            "none is enabled, so nothing could be delivered",
            "Write enabled = true in one",
        ),
        (
            DIRECTORY + SOURCE + "enabled = false\n",
            "watch.directories",
            "is empty and no source is enabled, so nothing could be found",
            'Write for example ["/ai-toolkit/outputs"]',
        ),
        (
            WATCH + DIRECTORY + SOURCE.replace("aitoolkit-mcp", "aitoolkit"),
            "sources.trainer.kind",
            'is "aitoolkit", must be aitoolkit-mcp',
            "Did you mean aitoolkit-mcp?",
        ),
    ],
)
def test_each_problem_says_where_it_is_what_is_wrong_and_what_to_write(
    text: str, path: str, wrong: str, fix: str
) -> None:
    assert problems_in(text) == [(path, wrong, fix)]


def test_a_source_alone_needs_no_watched_directory() -> None:
    assert problems_in(DIRECTORY + SOURCE) == []


def test_every_problem_is_reported_at_once_and_none_that_only_follows_from_another() -> None:
    text = """
    [watch]
    directories = ["/srv/outputs", "/srv/outputs/deep", 7]
    quiet_seconds = -1
    retire = true
    [log]
    levle = "info"
    [[destinations]]
    name = "inside"
    kind = "directory"
    directory = "/srv/outputs/loras"
    file_mode = "9"
    [[destinations]]
    name = "nowhere"
    kind = "directory"
    [[destinations]]
    name = "nowhere"
    """
    assert [problem.path for problem in problems_in(text)] == [
        "watch.directories",  # 7
        "watch.quiet_seconds",
        "watch.retire",
        "log.levle",
        "destinations.inside.file_mode",
        "destinations.nowhere.directory",
        "destinations.nowhere.kind",
        "destinations.nowhere.name",
        "watch.directories",  # nested
        "destinations.inside.directory",
    ]


def test_no_missing_destination_is_reported_when_the_only_one_is_broken() -> None:
    assert [problem.path for problem in problems_in(WATCH + DIRECTORY.replace("/srv/loras", ""))] == [
        "destinations.comfyui.directory"
    ]


def test_a_wrong_state_directory_does_not_hide_other_problems() -> None:
    paths = [problem.path for problem in problems_in("state_directory = 5\n" + WATCH)]
    assert paths == ["state_directory", "destinations"]


@pytest.mark.parametrize(
    "text",
    [
        SERVER + 'token = "hush hush"\n',
        SERVER + 'token = ["hush"]\n',
        SERVER + 'tokn = "hush"\n',
        SERVER.replace("http://", "http://me:hush@"),
        SERVER.replace("http://", "me:hush@"),
        SERVER.replace("8189", "8189/?key=hush"),
        SERVER + 'comfyui_url = "ftp://me:hush@box"\n',
        DIRECTORY + 'token = "hush"\n',
        'destinations = { token = "hush" }\n',
        'destinations = ["hush"]\n',
        'sources = "hush"\n' + DIRECTORY,
        'key = "hush"\n' + DIRECTORY,
    ],
)
def test_no_problem_shows_what_may_be_a_secret(text: str) -> None:
    problems = problems_in(text)
    assert problems
    assert "hush" not in str(problems)


def test_a_secret_from_the_environment_is_not_shown_either() -> None:
    environ = {
        "LORAWATCH_DESTINATIONS__RENDER_BOX__TOKEN": "hush hush",
        "LORAWATCH_DESTINATIONS__RENDER_BOX__TOKN": "hush",
        "LORAWATCH_DESTINATIONS__RENDERBOX__TOKEN": "hush",
        "LORAWATCH_DESTINATIONS_RENDER_BOX_TOKEN": "hush",
    }
    problems = problems_in(WATCH + SERVER, environ)
    assert len(problems) == 4
    assert "hush" not in str(problems)


def test_a_problem_names_the_variable_that_the_value_came_from() -> None:
    [problem] = problems_in(WATCH + DIRECTORY, {"LORAWATCH_WATCH__QUIET_SECONDS": "soon"})
    assert problem.path == "watch.quiet_seconds"
    assert problem.wrong == 'is "soon" (from $LORAWATCH_WATCH__QUIET_SECONDS), must be a number'


def test_the_error_is_one_readable_line_per_problem() -> None:
    error = ConfigurationError([*problems_in(WATCH + "quiet_seconds = -1\n" + DIRECTORY)], file="/x.toml")
    assert str(error) == ("/x.toml has 1 problem:\n  watch.quiet_seconds: is -1, must be above 0. Write for example 2")


def test_undecodable_bytes_and_long_values_are_shown_without_breaking_the_terminal() -> None:
    problem = problems_in(WATCH + DIRECTORY, {"LORAWATCH_WATCH__MODE": "\udcff" + "x" * 10_000})[0]
    assert problem.wrong.encode("utf-8")
    assert len(problem.wrong) < 300


TOML_VALUES = st.recursive(
    st.none().map(lambda _: "") | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(["name", "kind", "url", "x"]), below),
    max_leaves=6,
)
SECTIONS = st.sampled_from(["watch", "inspect", "retry", "log", "destinations", "sources", "state_directory", "other"])
KINDS = st.sampled_from(["directory", "comfyui-mcp", "docker", "aitoolkit-mcp", "other"])
KEYS = st.sampled_from(
    ["directories", "kinds", "file_mode", "max_seconds", "volume", "directory", "url", "name", "kind"]
)
ENTRIES = st.lists(st.builds(lambda kind, rest: {"kind": kind} | rest, KINDS, st.dictionaries(KEYS, TOML_VALUES)))


@settings(deadline=None)
@given(st.dictionaries(SECTIONS, TOML_VALUES | ENTRIES | st.dictionaries(KEYS, TOML_VALUES)))
def test_whatever_the_tables_hold_there_are_problems_or_a_configuration_and_never_a_traceback(
    tables: dict[str, object],
) -> None:
    config, problems = validate(tables, context={}, origins={})
    assert (config is None) == bool(problems)
    assert all(path and wrong for path, wrong, _ in problems)
