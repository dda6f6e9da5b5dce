"""Finding, reading and laying over each other: real files, real links, real permissions."""

import errno
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from pydantic import SecretStr

from lorawatch import config_loading
from lorawatch.config import ComfyUIMcpDestinationConfig, DirectoryDestinationConfig
from lorawatch.config_environment import token_for
from lorawatch.config_loading import Loaded, find_file, load
from lorawatch.domain.errors import ConfigurationError
from tests.fakes.failing_calls import FailingCalls

Write = Callable[..., str]


@pytest.fixture(autouse=True)
def no_system_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_loading, "SYSTEM_FILE", str(tmp_path / "etc/lorawatch/config.toml"))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(place: str = "site/lorawatch.toml", *, watch: str = "outputs", to: str = "loras", more: str = "") -> str:
        file = tmp_path / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(
            f'[watch]\ndirectories = ["{watch}"]\n'
            f'[[destinations]]\nname = "comfyui"\nkind = "directory"\ndirectory = "{to}"\n{more}'
        )
        return str(file)

    return write


def environ_of(tmp_path: Path, **more: str) -> dict[str, str]:
    return {"HOME": str(tmp_path / "home"), **more}


def directories_of(loaded: Loaded) -> list[str]:
    return [one.directory for one in loaded.config.destinations if isinstance(one, DirectoryDestinationConfig)]


def problems_of(
    file: str | None,
    environ: Mapping[str, str],
    *,
    watch: Sequence[str] = (),
    to: str | None = None,
    directory: str = "/",
) -> list[tuple[str, str, str]]:
    with pytest.raises(ConfigurationError) as raised:
        load(file, environ=environ, watch=watch, to=to, directory=directory)
    return raised.value.problems


def test_the_first_place_that_has_a_file_wins(tmp_path: Path, write: Write) -> None:
    here = str(tmp_path / "here")
    os.mkdir(here)
    environ = environ_of(tmp_path)
    named = {**environ, "LORAWATCH_CONFIG": write("named.toml")}
    explicit = write("explicit.toml")
    system = write("etc/lorawatch/config.toml")
    assert find_file(None, environ=environ, directory=here) == system
    home = write("home/.config/lorawatch/config.toml")
    assert find_file(None, environ=environ, directory=here) == home
    xdg = write("xdg/lorawatch/config.toml")
    assert find_file(None, environ={**environ, "XDG_CONFIG_HOME": str(tmp_path / "xdg")}, directory=here) == xdg
    local = write("here/lorawatch.toml")
    assert find_file(None, environ=environ, directory=here) == local
    assert find_file(None, environ=named, directory=here) == named["LORAWATCH_CONFIG"]
    assert find_file("../explicit.toml", environ=named, directory=here) == explicit
    assert load(None, environ=environ, directory=here).file == local


def test_paths_of_a_file_start_where_it_lies(tmp_path: Path, write: Write) -> None:
    file = write(watch="outputs/../out", to="~/loras", more='[log]\nfile = "log/lorawatch.log"\n')
    loaded = load(file, environ=environ_of(tmp_path), directory="/")
    assert loaded.config.watch.directories == (str(tmp_path / "site/out"),)
    assert directories_of(loaded) == [str(tmp_path / "home/loras")]
    assert loaded.config.log.file == str(tmp_path / "site/log/lorawatch.log")
    assert loaded.config.state_directory == str(tmp_path / "home/.local/state/lorawatch")
    assert loaded.file == file


def test_an_empty_state_directory_is_the_default(tmp_path: Path, write: Write) -> None:
    file = write()
    Path(file).write_text('state_directory = ""\n' + Path(file).read_text())
    environ = environ_of(tmp_path, STATE_DIRECTORY="/var/lib/lorawatch")
    assert load(file, environ=environ).config.state_directory == "/var/lib/lorawatch"
    environ["LORAWATCH_STATE_DIRECTORY"] = "/elsewhere"
    assert load(file, environ=environ).config.state_directory == "/elsewhere"


def test_links_in_configured_paths_are_kept(tmp_path: Path, write: Write) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "site").mkdir()
    (tmp_path / "site/loras").symlink_to(tmp_path / "disk")
    assert directories_of(load(write(), environ=environ_of(tmp_path))) == [str(tmp_path / "site/loras")]


def test_a_byte_order_mark_and_windows_line_ends_are_fine(tmp_path: Path, write: Write) -> None:
    file = Path(write())
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    assert load(str(file), environ=environ_of(tmp_path)).config.destinations


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (b"[watch\n", "is no TOML: "),
        (b"a = 1\na = 2\n", "is no TOML: "),
        (b"a = " + b"1" * 5000, "is no TOML: "),
        (b"a = '\xff'\n", "is not UTF-8 (byte 5)"),
    ],
)
def test_a_file_that_is_no_toml_is_named(tmp_path: Path, content: bytes, wrong: str) -> None:
    file = tmp_path / "x.toml"
    file.write_bytes(content)
    [(path, found, fix)] = problems_of(str(file), environ_of(tmp_path))
    assert path == str(file)
    assert found.startswith(wrong)
    assert fix


def test_a_named_file_that_is_missing_is_an_error_and_nothing_else_is_searched(tmp_path: Path, write: Write) -> None:
    write("here/lorawatch.toml")
    missing = str(tmp_path / "missing.toml")
    expected = [(missing, "is not there", "Name another with --config, or write one with `lorawatch init`")]
    here = str(tmp_path / "here")
    assert problems_of(missing, environ_of(tmp_path), directory=here) == expected
    assert problems_of(None, environ_of(tmp_path, LORAWATCH_CONFIG=missing), directory=here) == expected


def test_a_directory_in_place_of_the_file_is_an_error(tmp_path: Path) -> None:
    [(path, wrong, _)] = problems_of(str(tmp_path), environ_of(tmp_path))
    assert (path, wrong) == (str(tmp_path), "cannot be read: Is a directory")


def test_a_file_that_may_not_be_read_is_not_passed_over(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write("here/lorawatch.toml")
    os.chmod(file, 0o640)

    def refuse(path: str, *_: object, **__: object) -> object:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("builtins.open", refuse)  # root is never refused by real permissions
    [(path, wrong, fix)] = problems_of(None, environ_of(tmp_path), directory=str(tmp_path / "here"))
    assert (path, wrong) == (file, "may not be read")
    assert fix.startswith("Use sudo")


@pytest.mark.skipif(os.geteuid() == 0, reason="root is never refused")
def test_a_place_that_may_not_be_looked_into_is_named_when_nothing_else_is_found(tmp_path: Path, write: Write) -> None:
    closed = os.path.dirname(write("etc/lorawatch/config.toml"))
    os.chmod(closed, 0)
    try:
        [(path, wrong, fix)] = problems_of(None, environ_of(tmp_path), directory=str(tmp_path))
    finally:
        os.chmod(closed, stat.S_IRWXU)
    assert (path, wrong) == ("--config", f"{closed}/config.toml may not be looked at")
    assert fix == "Use sudo"


def test_a_home_and_a_directory_of_somebody_else_count_as_without_a_file(
    tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = os.path.dirname(write("here/lorawatch.toml"))
    closed = (here, os.path.dirname(write("home/.config/lorawatch/config.toml")))
    system = write("etc/lorawatch/config.toml")
    calls = FailingCalls(monkeypatch)
    calls.fail("stat", errno.EACCES, when=lambda place, **_: str(place).startswith(closed))
    assert find_file(None, environ=environ_of(tmp_path), directory=here) == system
    os.unlink(system)
    assert find_file(None, environ=environ_of(tmp_path), directory=here) is None
    assert calls.failures == 4


def test_without_any_file_the_two_ways_out_are_told(tmp_path: Path) -> None:
    [(path, wrong, fix)] = problems_of(None, environ_of(tmp_path), directory=str(tmp_path))
    assert path == "--config"
    assert wrong.startswith("no configuration was found")
    assert "lorawatch init" in fix
    assert "--watch DIR --to DIR" in fix


def test_one_of_watch_and_to_without_a_file_asks_for_the_other(tmp_path: Path) -> None:
    [(path, wrong, _)] = problems_of(None, environ_of(tmp_path), watch=["out"], directory=str(tmp_path))
    assert (path, wrong) == ("--watch", "needs --to beside it, as there is no configuration file")
    [(path, wrong, _)] = problems_of(None, environ_of(tmp_path), to="loras", directory=str(tmp_path))
    assert (path, wrong) == ("--to", "needs --watch beside it, as there is no configuration file")


def test_watch_with_to_searches_no_file(tmp_path: Path, write: Write) -> None:
    write("here/lorawatch.toml", more="quite = 'broken'\n")
    here = tmp_path / "here"
    environ = environ_of(tmp_path, LORAWATCH_CONFIG="/missing", LORAWATCH_DESTINATIONS__MY_LORAS__FILE_MODE="0640")
    loaded = load(None, environ=environ, watch=["out", "~/more"], to="../My Loras", directory=str(here))
    assert loaded.file is None
    assert loaded.config.watch.directories == (str(here / "out"), str(tmp_path / "home/more"))
    [destination] = loaded.config.destinations
    assert isinstance(destination, DirectoryDestinationConfig)
    assert (destination.name, destination.directory) == ("my-loras", str(tmp_path / "My Loras"))
    assert destination.file_mode == "0640"


def test_a_directory_without_a_usable_name_is_called_destination(tmp_path: Path) -> None:
    loaded = load(None, environ=environ_of(tmp_path), watch=["out"], to="/モデル", directory=str(tmp_path))
    assert loaded.config.destinations[0].name == "destination"


def test_undecodable_names_on_the_command_line_survive(tmp_path: Path) -> None:
    watched = os.fsdecode(b"/out\xff")
    loaded = load(None, environ=environ_of(tmp_path), watch=[watched], to=os.fsdecode(b"/l\xffras"), directory="/")
    assert loaded.config.watch.directories == (watched,)
    assert directories_of(loaded) == [os.fsdecode(b"/l\xffras")]


def test_watch_alone_replaces_the_watched_directories_of_the_file_and_the_environment(
    tmp_path: Path, write: Write
) -> None:
    environ = environ_of(tmp_path, LORAWATCH_WATCH__DIRECTORIES="/from/environment")
    loaded = load(write(), environ=environ, watch=["out"], directory=str(tmp_path))
    assert loaded.config.watch.directories == (str(tmp_path / "out"),)
    assert directories_of(loaded) == [str(tmp_path / "site/loras")]


def test_to_alone_is_the_only_destination_and_takes_over_no_name(tmp_path: Path, write: Write) -> None:
    loaded = load(write(), environ=environ_of(tmp_path), to="new/comfyui", directory=str(tmp_path))
    [destination] = loaded.config.destinations
    assert destination.name == "comfyui-2"
    assert directories_of(loaded) == [str(tmp_path / "new/comfyui")]
    assert loaded.config.watch.directories == (str(tmp_path / "site/outputs"),)


def test_to_a_directory_that_the_file_knows_keeps_its_name_and_settings(tmp_path: Path, write: Write) -> None:
    other = '[[destinations]]\nname = "other"\nkind = "directory"\ndirectory = "/other"\n'
    file = write(more=f'enabled = false\nfile_mode = "0600"\n{other}')
    (tmp_path / "site/loras").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "site/loras")
    [destination] = load(file, environ=environ_of(tmp_path), to="link", directory=str(tmp_path)).config.destinations
    assert isinstance(destination, DirectoryDestinationConfig)
    assert (destination.name, destination.enabled, destination.file_mode) == ("comfyui", True, "0600")


def test_a_bad_directory_of_the_command_line_is_told_as_such(tmp_path: Path) -> None:
    problems = problems_of(None, environ_of(tmp_path), watch=["", "out"], to="", directory=str(tmp_path))
    assert [(path, wrong) for path, wrong, _ in problems] == [
        ("watch.directories", 'entry 1 is "" (from --watch), must be a path'),
        ("destinations.destination.directory", 'is "" (from --to), must be a path'),
    ]


def test_override_and_file_problems_come_together(tmp_path: Path, write: Write) -> None:
    environ = environ_of(tmp_path, LORAWATCH_DESTINATIONS__COMFY__FILE_MODE="0600")
    file = write(more='file_mode = "9"\n')
    with pytest.raises(ConfigurationError) as raised:
        load(file, environ=environ)
    assert [path for path, _, _ in raised.value.problems] == [
        "$LORAWATCH_DESTINATIONS__COMFY__FILE_MODE",
        "destinations.comfyui.file_mode",
    ]
    assert raised.value.file == file
    assert str(raised.value).startswith(f"{file} has 2 problems:")


def entangled(tmp_path: Path, write: Write, *, watch: str, to: str, more: str = "") -> list[tuple[str, str]]:
    file = write(watch=watch, to=to, more=more)
    return [(path, wrong) for path, wrong, _ in problems_of(file, environ_of(tmp_path))]


def test_a_destination_inside_a_watched_directory_is_refused_through_links_too(tmp_path: Path, write: Write) -> None:
    (tmp_path / "out/loras").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "out/loras")
    link, out = tmp_path / "link", tmp_path / "out"
    [(path, wrong)] = entangled(tmp_path, write, watch=str(out), to=str(link))
    assert path == "destinations.comfyui.directory"
    assert wrong.startswith(f"{link} (in reality {out}/loras) lies inside the watched directory {out}, so ")


def test_a_watched_directory_inside_a_destination_is_refused_through_links_too(tmp_path: Path, write: Write) -> None:
    (tmp_path / "loras/out").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "loras")
    [(path, wrong)] = entangled(tmp_path, write, watch=str(tmp_path / "loras/out"), to=str(tmp_path / "link"))
    assert path == "destinations.comfyui.directory"
    assert "contains the watched directory" in wrong


def test_a_watched_directory_cannot_be_the_destination(tmp_path: Path, write: Write) -> None:
    [(path, wrong)] = entangled(tmp_path, write, watch=str(tmp_path / "x"), to=str(tmp_path / "y/../x"))
    assert (path, wrong) == ("destinations.comfyui.directory", f"{tmp_path}/x is itself a watched directory")


def test_directories_that_only_begin_alike_are_no_problem(tmp_path: Path, write: Write) -> None:
    loaded = load(write(watch="/srv/lora", to="/srv/loras"), environ=environ_of(tmp_path))
    assert directories_of(loaded) == ["/srv/loras"]


def test_two_enabled_destinations_cannot_share_a_directory(tmp_path: Path, write: Write) -> None:
    (tmp_path / "loras").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "loras")
    twin = f'[[destinations]]\nname = "twin"\nkind = "directory"\ndirectory = "{tmp_path}/link"\n'
    to = str(tmp_path / "loras")
    [(path, wrong)] = entangled(tmp_path, write, watch="/out", to=to, more=twin)
    assert path == "destinations.twin.directory"
    assert "is also destinations.comfyui.directory" in wrong
    loaded = load(write(watch="/out", to=to, more=twin + "enabled = false\n"), environ=environ_of(tmp_path))
    assert len(loaded.config.destinations) == 2


def test_a_disabled_destination_may_lie_anywhere(tmp_path: Path, write: Write) -> None:
    inside = '[[destinations]]\nname = "inside"\nkind = "directory"\ndirectory = "/out/x"\nenabled = false\n'
    loaded = load(write(watch="/out", to="/loras", more=inside), environ=environ_of(tmp_path))
    assert directories_of(loaded) == ["/loras", "/out/x"]


@pytest.mark.parametrize(
    ("second", "wrong"),
    [
        ("out/deep", "lies inside"),
        ("link", "are one directory"),
        ("out", "are one directory"),
    ],
)
def test_watched_directories_cannot_be_nested_or_given_twice(
    tmp_path: Path, write: Write, second: str, wrong: str
) -> None:
    (tmp_path / "out/deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "out")
    [(path, found)] = entangled(tmp_path, write, watch=f'{tmp_path}/out", "{tmp_path}/{second}', to="/loras")
    assert path == "watch.directories"
    assert wrong in found


def test_lorawatch_writes_nothing_of_its_own_into_a_watched_directory(tmp_path: Path, write: Write) -> None:
    file = write(watch=str(tmp_path / "out"), to="/loras", more='[log]\nfile = "../out/lorawatch.log"\n')
    (tmp_path / "out").mkdir()
    (tmp_path / "state").symlink_to(tmp_path / "out")
    problems = problems_of(file, environ_of(tmp_path, STATE_DIRECTORY=str(tmp_path / "state/deep")))
    assert [path for path, _, _ in problems] == ["state_directory", "log.file"]


def test_a_credential_goes_before_the_environment_and_the_file(tmp_path: Path) -> None:
    server = ComfyUIMcpDestinationConfig(name="box", kind="comfyui-mcp", url="http://box", token=SecretStr("file"))
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "LORAWATCH_TOKEN_BOX": "environment"}
    assert token_for(server, environ).get_secret_value() == "environment"
    (tmp_path / "box").write_text("credential\n")
    assert token_for(server, environ).get_secret_value() == "credential"


@pytest.mark.parametrize(
    ("content", "wrong"),
    [
        (b"hush hush", "must be printable ASCII without spaces"),
        (b"hush\xff", "is not text"),
    ],
)
def test_a_credential_that_cannot_be_used_is_named_but_not_shown(tmp_path: Path, content: bytes, wrong: str) -> None:
    server = ComfyUIMcpDestinationConfig(name="box", kind="comfyui-mcp", url="http://box")
    (tmp_path / "box").write_bytes(content)
    with pytest.raises(ConfigurationError) as raised:
        token_for(server, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
    [(path, found, _)] = raised.value.problems
    assert path == "destinations.box.token"
    assert f"{tmp_path}/box {wrong}" in found
    assert "hush" not in str(raised.value)


def test_a_credential_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    server = ComfyUIMcpDestinationConfig(name="box", kind="comfyui-mcp", url="http://box")
    (tmp_path / "box").mkdir()
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        token_for(server, {"CREDENTIALS_DIRECTORY": str(tmp_path)})
