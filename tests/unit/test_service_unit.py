"""The plan of the systemd service, as data: what is written, in which order, and in which words."""

import re
from pathlib import Path

import pytest

from lorawatch.domain.errors import ConfigurationError
from lorawatch.service_unit import advice, checking, configuration, places, planning, rendering
from lorawatch.service_unit.configuration import Wish
from lorawatch.service_unit.site import Site
from lorawatch.service_unit.steps import CopyProgram, Remove, RunCommand, Step, WriteFile

OUTPUTS, LORAS = "/ai-toolkit/outputs", "/comfyui/models/loras"
SERVER = '[[destinations]]\nname = "render-box"\nkind = "comfyui-mcp"\nurl = "http://192.168.0.152:8189"\n'


def site(
    tmp_path: Path,
    *,
    tables: str = "",
    user: str = "lorawatch",
    is_user_there: bool = False,
    is_group_there: bool = False,
    groups: tuple[str, ...] = (),
    credentials: tuple[str, ...] = (),
    command: str = places.PROGRAM_COMMAND,
    is_program_copied: bool = False,
    is_home_needed: bool = False,
    reads_private_files: bool = False,
    knows_backoff: bool = False,
) -> Site:
    file = tmp_path / "config.toml"
    file.write_text(configuration.first_text([OUTPUTS], LORAS) + tables)
    config, text = configuration.choose(Wish(), system_file=str(file))
    return Site(
        config=config,
        config_text=text,
        user=user,
        group=user,
        is_user_there=is_user_there,
        is_group_there=is_group_there,
        groups=groups,
        credentials=credentials,
        command=command,
        is_program_copied=is_program_copied,
        is_home_needed=is_home_needed,
        is_tmp_needed=False,
        reads_private_files=reads_private_files,
        knows_backoff=knows_backoff,
    )


def written(steps: list[Step]) -> dict[str, str]:
    return {step.path: step.text for step in steps if isinstance(step, WriteFile)}


def commands(steps: list[Step]) -> set[str]:
    return {step.arguments[0] for step in steps if isinstance(step, RunCommand)}


def removed(steps: list[Step]) -> set[str]:
    return {step.path for step in steps if isinstance(step, Remove)}


def test_a_first_installation_makes_the_user_and_ends_with_a_reload_of_systemd(tmp_path: Path) -> None:
    steps = planning.installation(site(tmp_path))
    assert isinstance(steps[0], RunCommand)
    assert steps[0].arguments[0] == "useradd"
    assert steps[-1] == RunCommand(("systemctl", "daemon-reload"))
    assert written(steps)[places.UNIT_FILE] == places.unit_text()
    assert "enable" not in str(steps), "that comes after the check of permissions"


def test_the_configuration_is_for_root_and_the_group_of_the_service_only(tmp_path: Path) -> None:
    steps = planning.installation(site(tmp_path, user="trainer", is_user_there=True))
    step = next(each for each in steps if isinstance(each, WriteFile) and each.path.endswith("config.toml"))
    assert (step.mode, step.group) == (0o640, "trainer")


def test_directories_groups_and_tokens_are_let_through_the_sandbox(tmp_path: Path) -> None:
    text = rendering.site_text(site(tmp_path, tables=SERVER, groups=("comfy",), credentials=("render-box",)))
    assert f"\nReadOnlyPaths=-{OUTPUTS}\n" in text
    assert f"\nReadWritePaths=-{LORAS}\n" in text
    assert "\nSupplementaryGroups=comfy\n" in text
    assert "\nLoadCredential=render-box:/etc/lorawatch/credentials/render-box\n" in text
    assert "ProtectHome" not in text
    assert "ExecStart" not in text


def test_what_lies_in_a_home_directory_is_seen_but_stays_read_only(tmp_path: Path) -> None:
    assert "\nProtectHome=read-only\n" in rendering.site_text(site(tmp_path, is_home_needed=True))


def test_another_place_for_state_and_log_may_be_written(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    text = f'state_directory = "/data/state"\n{configuration.first_text([OUTPUTS], LORAS).partition("[watch]")[2]}'
    file.write_text(
        text.replace("\ndirectories", "\n[watch]\ndirectories", 1) + '[log]\nfile = "/data/log/lorawatch.log"\n'
    )
    config, _ = configuration.choose(Wish(), system_file=str(file))
    given = rendering.site_text(
        Site(
            config,
            "",
            "lorawatch",
            "lorawatch",
            True,
            True,
            (),
            (),
            places.PROGRAM_COMMAND,
            False,
            False,
            False,
            False,
            False,
        )
    )
    assert "\nReadWritePaths=-/data/state\n" in given
    assert "\nReadWritePaths=-/data/log\n" in given


def test_a_program_elsewhere_is_started_from_there(tmp_path: Path) -> None:
    text = rendering.site_text(site(tmp_path, command="/srv/venv/bin/lorawatch"))
    assert "\nExecStart=\nExecStart=/srv/venv/bin/lorawatch run --config /etc/lorawatch/config.toml\n" in text


def test_a_program_that_the_user_cannot_start_is_copied_before_the_unit_is_written(tmp_path: Path) -> None:
    steps = planning.installation(site(tmp_path, is_program_copied=True))
    copied = steps.index(CopyProgram(places.PROGRAM))
    assert copied < next(at for at, step in enumerate(steps) if str(step).startswith(f"write {places.UNIT_FILE}"))


def test_each_choice_is_one_drop_in_and_its_opposite_removes_it(tmp_path: Path) -> None:
    plain = planning.installation(site(tmp_path))
    assert removed(plain) == {places.USER, places.PRIVATE_FILES, places.BACKOFF}
    chosen = planning.installation(site(tmp_path, user="trainer", reads_private_files=True, knows_backoff=True))
    assert removed(chosen) == set()
    assert "User=trainer\nGroup=trainer\n" in written(chosen)[places.USER]
    assert "AmbientCapabilities=CAP_DAC_READ_SEARCH" in written(chosen)[places.PRIVATE_FILES]
    assert "RestartSteps=" in written(chosen)[places.BACKOFF]


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/plain", "/plain"),
        ("/with space", '"/with space"'),
        ("/100%", "/100%%"),
        ('/a"b', "'/a\"b'"),
        ("/it's", '"/it\'s"'),
        ("/čat", "/čat"),
    ],
)
def test_a_path_is_written_as_systemd_reads_it(path: str, word: str) -> None:
    assert rendering.quoted(path) == word


@pytest.mark.parametrize("path", ["/two\nlines", "/both\"and'"])
def test_a_path_that_no_unit_can_hold_is_refused(path: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be written into a systemd unit"):
        rendering.quoted(path)


def test_the_service_is_only_restarted_when_it_is_outdated() -> None:
    assert planning.start(is_outdated=False)[-1] == RunCommand(("systemctl", "start", places.UNIT))
    assert planning.start(is_outdated=True)[-1] == RunCommand(("systemctl", "restart", places.UNIT), is_said=True)


def test_a_removal_leaves_what_is_not_the_unit_s_unless_it_is_a_purge() -> None:
    kept = planning.removal(is_purged=False, is_user_ours=True, is_group_ours=True, is_program_ours=True)
    assert removed(kept) == {
        places.SITE,
        places.USER,
        places.PRIVATE_FILES,
        places.BACKOFF,
        places.DROP_INS,
        places.UNIT_FILE,
    }
    purged = planning.removal(is_purged=True, is_user_ours=True, is_group_ours=True, is_program_ours=True)
    assert removed(purged) - removed(kept) == {places.CONFIGURATION, places.STATE, places.LOGS, places.PROGRAM}
    assert {"userdel", "groupdel"} <= commands(purged)
    theirs = planning.removal(is_purged=True, is_user_ours=False, is_group_ours=False, is_program_ours=False)
    assert places.PROGRAM not in removed(theirs)
    assert not {"userdel", "groupdel"} & commands(theirs)


def test_a_group_that_was_there_before_is_used_and_stays_another_s(tmp_path: Path) -> None:
    made = planning.installation(site(tmp_path))[0]
    assert isinstance(made, RunCommand)
    assert "--user-group" in made.arguments
    assert places.MADE_WITH_GROUP in made.arguments
    joined = planning.installation(site(tmp_path, is_group_there=True))[0]
    assert isinstance(joined, RunCommand)
    assert joined.arguments[2:4] == ("--gid", "lorawatch")
    assert places.MADE in joined.arguments


@pytest.mark.parametrize("names", [[], ["10-site.conf", "override.conf"], ["zz.conf", "zz~.conf", "a.conf"]])
def test_the_check_has_the_last_word_whatever_the_drop_ins_are_called(names: list[str]) -> None:
    ours = checking.name_after(f"/etc/systemd/system/lorawatch.service.d/{name}" for name in names)
    assert ours.endswith(".conf")
    assert max([*names, ours]) == ours


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("[watch]\n", 'state_directory = "/var/lib/lorawatch"'),
        ('# mine\nstate_directory = ""  # default\n', '# mine\nstate_directory = "/var/lib/lorawatch"'),
        ('state_directory = "/data"\n', 'state_directory = "/data"\n'),
    ],
)
def test_a_configuration_without_state_directory_gets_that_of_the_service(
    tmp_path: Path, before: str, after: str
) -> None:
    file = tmp_path / "config.toml"
    head, _, rest = configuration.first_text([OUTPUTS], LORAS).partition("[watch]\n")
    assert head
    file.write_text(before + ("" if "[watch]" in before else "[watch]\n") + rest)
    _, text = configuration.choose(Wish(), system_file=str(file))
    assert text.startswith(after)
    assert text.endswith(rest)
    assert file.read_text().startswith(before), "only the plan holds the new text"


def test_options_that_the_present_configuration_contradicts_are_refused_together(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(configuration.first_text([OUTPUTS], LORAS))
    configuration.choose(Wish(watch=[OUTPUTS], to=LORAS), system_file=str(file))
    with pytest.raises(ConfigurationError) as raised:
        configuration.choose(Wish(watch=["/other"], to="/elsewhere"), system_file=str(file))
    assert [path for path, _, _ in raised.value.problems] == ["--watch", "--to"]


def test_a_file_that_is_taken_over_may_not_depend_on_its_place(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(configuration.first_text(["outputs"], LORAS))
    with pytest.raises(ConfigurationError, match="outputs"):
        configuration.choose(Wish(file=str(mine)), system_file=str(tmp_path / "none.toml"))
    mine.write_text(configuration.first_text([OUTPUTS], LORAS))
    config, text = configuration.choose(Wish(file=str(mine)), system_file=str(tmp_path / "none.toml"))
    assert (config.watch.directories, text) == ((OUTPUTS,), mine.read_text())


def test_without_configuration_both_directories_come_from_the_options(tmp_path: Path) -> None:
    config, _ = configuration.choose(Wish(watch=["/a b"], to='/q"uote'), system_file=str(tmp_path / "none.toml"))
    assert (config.watch.directories, config.destinations[0].name) == (("/a b",), "comfyui")
    assert config.state_directory == places.STATE


def test_against_mode_0600_the_smallest_privilege_is_offered_first() -> None:
    found: advice.Found = {
        "code": "files-unreadable",
        "path": "/a.safetensors",
        "count": 3,
        "mode": "0600",
        "owner": "trainer",
    }
    (error,), notes = advice.on([found], user="lorawatch")
    assert not notes
    offers = [re.search(r"--user trainer|--private-files|chmod g\+r", line) for line in error.splitlines()[1:]]
    assert [offer and offer[0] for offer in offers] == ["--user trainer", "--private-files", "chmod g+r"]


def test_running_as_root_is_never_offered_for_root_s_files() -> None:
    found: advice.Found = {
        "code": "files-unreadable",
        "path": "/a.safetensors",
        "count": 1,
        "mode": "0600",
        "owner": "root",
    }
    assert "--user" not in advice.on([found], user="lorawatch")[0][0]


@pytest.mark.parametrize(
    ("result", "status", "words"),
    [
        ("exit-code", "203", "the program cannot be run by this user"),
        ("exit-code", "1", "the check ended with 1; see journalctl"),
        ("timeout", "15", "one of them hangs"),
        ("success", "0", "one of them hangs"),  # not even systemd could end it yet
    ],
)
def test_why_a_check_did_not_come_to_its_end_is_said(result: str, status: str, words: str) -> None:
    assert words in checking.failure(result, status)


@pytest.mark.parametrize(
    ("text", "directory"),
    [
        ('state_directory = "/data/state"\n', "/data/state"),
        (f'state_directory = "{places.STATE}/more"\n', None),
        ("[watch]\n", None),
        ("no TOML", None),
    ],
)
def test_state_that_a_purge_leaves_is_known(tmp_path: Path, text: str, directory: str | None) -> None:
    file = tmp_path / "config.toml"
    assert configuration.state_elsewhere(str(file)) is None
    file.write_text(text)
    assert configuration.state_elsewhere(str(file)) == directory


def test_a_directory_that_is_not_there_is_a_note_because_it_is_waited_for() -> None:
    found = {"code": "missing", "path": "/mnt/disk", "error": "No such file or directory"}
    errors, (note,) = advice.on([found], user="lorawatch")
    assert not errors
    assert note.startswith("/mnt/disk is not there")


def test_every_setting_of_the_unit_has_its_reason() -> None:
    paragraphs = places.unit_text().split("[Service]")[1].split("[Install]")[0].strip().split("\n\n")
    for paragraph in paragraphs:
        assert paragraph.startswith("#"), f"no reason in front of: {paragraph}"


@pytest.mark.parametrize(
    "line",
    [
        'token = "S3CRET"',
        "token='S3CRET'",
        'token = "S3CRET \\" S3CRET"',
        '"token" = """S3CRET\nS3CRET"""',
        'destinations = [{name = "a", token = "S3CRET", url = "http://127.0.0.1"}]',
    ],
)
def test_a_token_in_the_configuration_is_written_but_never_shown(line: str) -> None:
    step = WriteFile("/etc/lorawatch/config.toml", f"[watch]\n{line}\nquiet_seconds = 2\n")
    assert "S3CRET" in step.text
    assert "S3CRET" not in str(step)
    assert "quiet_seconds = 2" in str(step)
