"""The parts of `doctor` that need no machine: how findings look, what a history tells, which limits are too low."""

import os
import threading
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from lorawatch.config import WatchConfig
from lorawatch.doctor import inotify, program, service, watched
from lorawatch.doctor.findings import Finding, Level, error, fine, warning
from lorawatch.doctor.history import troubles_of
from lorawatch.doctor.report import rows_of, summary
from lorawatch.doctor.running import Check, run, within
from lorawatch.doctor.worker import Worker, may
from lorawatch.domain.codes import cure_of
from lorawatch.domain.errors import DestinationDownError
from lorawatch.service_unit import places
from lorawatch.sources.mounts import MountTable
from lorawatch.transport.process import Identity

ME = Worker(Identity(os.geteuid(), os.getegid()), "me", "as you")


def levels(found: Iterator[Finding]) -> list[tuple[str, str]]:
    return [(finding.check, finding.level.value) for finding in found]


def test_a_check_that_hangs_is_a_finding_and_the_others_are_told_all_the_same() -> None:
    never = threading.Event()

    def hang() -> Iterator[Finding]:
        never.wait()
        yield fine("b", "never")

    checks = [Check("a", lambda: [fine("a", "x")]), Check("b", hang, "disk"), Check("c", lambda: [fine("c", "y")])]
    found = list(run(checks, seconds=0.05))
    never.set()
    assert [(each.check, each.level.value) for each in found] == [("a", "ok"), ("b", "error"), ("c", "ok")]
    assert (found[1].code, found[1].subject) == ("io-stuck", "disk")


def test_a_question_that_hangs_has_no_answer_and_one_that_fails_raises() -> None:
    never = threading.Event()
    assert within(0.05, never.wait) is None
    never.set()
    assert within(5, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 // 0)


def test_a_check_that_fails_is_a_finding_too() -> None:
    def fail() -> Iterator[Finding]:
        raise ZeroDivisionError("never divide")
        yield

    def refuse() -> Iterator[Finding]:
        raise DestinationDownError("no disk", code="disk-full", fix="make room")
        yield

    crashed, refused = run([Check("a", fail), Check("b", refuse)])
    assert (crashed.level, crashed.code) == (Level.ERROR, "internal-error")
    assert "never divide" in crashed.detail
    assert (refused.code, refused.fix) == ("disk-full", "make room")


def test_a_cure_names_what_is_meant_instead_of_its_placeholder() -> None:
    cure = cure_of("destination-missing", {"DIRECTORY": "'/a b'"})
    assert "mkdir -p '/a b'" in cure
    assert "DIRECTORY" not in cure
    assert cure_of("no-such-code") == ""
    assert "`$LORAWATCH_TOKEN_RENDER_BOX`" in cure_of("not-authorized", {"<NAME>": "RENDER_BOX"})


def test_a_finding_has_its_fix_below_it_and_a_command_is_never_broken() -> None:
    command = "sudo setfacl -m u:lorawatch:rwx -m d:u:lorawatch:rwx /a/very/long/directory/that/goes/on/and/on"
    finding = error("destination-permissions", "word " * 40, fix=command, subject="comfyui")
    for columns in (0, 40, 80, 200):
        rows = list(rows_of(finding, columns))
        lines = [row.text for row in rows]
        assert any(line.endswith(f"→ {command}") for line in lines)
        text = [line for line in lines if "→" not in line]
        assert columns == 0 or all(len(line) <= columns for line in text)
        assert "(comfyui)" in " ".join(lines)
        assert rows[0].parts[0].style == "error"


def test_the_last_line_counts_what_is_to_be_done() -> None:
    well, odd, bad = fine("a", "x"), warning("b", "y", fix="z"), error("c", "y", fix="z")
    assert summary([well]).text.startswith("All is well")
    assert summary([well, odd, bad, bad]).text.startswith("2 errors and 1 warning; 1 fine")


def graph(**inputs: object) -> dict[str, Any]:
    return {
        "1": {"class_type": "LoraLoaderModelOnly", "inputs": {"lora_name": "cat.safetensors", **inputs}},
        "2": {"class_type": "KSampler", "inputs": {"model": ["1", 0]}},
        "3": {"class_type": "CLIPTextEncode", "inputs": {"text": None}},
    }


def entry(of: dict[str, Any], exception: str = "") -> dict[str, Any]:
    told = {"node_type": "CLIPTextEncode", "exception_message": exception}
    messages = [["execution_start", {}], ["execution_error", told]] if exception else []
    return {"prompt": [0, "id", of, {}, []], "status": {"messages": messages}}


def test_a_workflow_that_failed_for_a_null_input_is_named_with_the_input() -> None:
    (trouble,) = troubles_of({"a": entry(graph(strength_model=1.0), "argument of type 'NoneType' is not iterable")})
    assert trouble.code == "none-type-not-iterable"
    assert "CLIPTextEncode.text" in trouble.detail


@pytest.mark.parametrize(
    ("graph_", "is_idle"),
    [
        (graph(strength_model=0.0), True),
        (graph(strength_model=0.8), False),
        (graph(strength_model=0.0, strength_clip=1), False),
        ({"1": graph(strength_model=1.0)["1"]}, True),  # nothing is connected to it
        ({}, False),
    ],
)
def test_a_lora_that_cannot_have_an_effect_is_seen_in_the_graph(graph_: dict[str, Any], is_idle: bool) -> None:
    codes = [trouble.code for trouble in troubles_of({"a": entry(graph_)})]
    assert codes == (["no-lora-effect"] if is_idle else [])


@pytest.mark.parametrize("history", [{}, {"a": None}, {"a": {"prompt": [1], "status": []}}, {"a": {"prompt": "x"}}])
def test_a_history_of_another_form_tells_nothing(history: dict[str, object]) -> None:
    assert troubles_of(history) == []


def limits(tmp_path: Path, watches: int, events: int = 16_384) -> str:
    folder = tmp_path / "limits"
    folder.mkdir()
    (folder / "max_user_watches").write_text(f"{watches}\n")
    (folder / "max_queued_events").write_text(f"{events}\n")
    return str(folder)


@pytest.mark.parametrize(("watches", "level"), [(100_000, "ok"), (13, "warning"), (5, "error")])
def test_the_number_of_directories_is_compared_with_the_limit(tmp_path: Path, watches: int, level: str) -> None:
    tree = tmp_path / "outputs"
    for number in range(10):
        (tree / str(number)).mkdir(parents=True)
    (tree / ".hidden/below").mkdir(parents=True)
    assert inotify.count_directories([str(tree), str(tmp_path / "none")]) == 11
    (found,) = inotify.look([str(tree)], ME, limits=limits(tmp_path, watches))
    assert found.level.value == level
    assert level == "ok" or "sysctl fs.inotify.max_user_watches=" in found.fix


def test_a_short_queue_of_events_is_a_warning(tmp_path: Path) -> None:
    found = list(inotify.look([str(tmp_path)], ME, limits=limits(tmp_path, 100_000, events=100)))
    assert levels(iter(found)) == [("inotify", "ok"), ("inotify", "warning")]
    assert found[1].code == "inotify-overflow"


@pytest.mark.parametrize(
    ("kind", "mode", "level", "word"),
    [
        ("ext4", "auto", "ok", "tells of every change"),
        ("ext4", "polling", "ok", "is polled"),
        ("nfs4", "auto", "ok", "looked at every 10 s"),
        ("fuse.sshfs", "inotify", "error", 'mode = "auto"'),
    ],
)
def test_the_kind_of_mount_decides_whether_changes_are_told(
    tmp_path: Path, kind: str, mode: str, level: str, word: str
) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(f"1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 0:9 / /outputs/below rw - {kind} there rw\n")
    watch = WatchConfig.model_validate({"mode": mode})
    (found,) = watched._mounts("/outputs", watch, MountTable(str(table)))
    assert found.level.value == level
    assert word in f"{found.detail} {found.fix}"


def test_packages_that_are_missing_or_too_old_are_named_with_what_is_needed() -> None:
    def version_of(name: str) -> str:
        if name == "gone":
            raise metadata.PackageNotFoundError(name)
        return {"old": "1.9.3", "new": "2.10.0", "odd": "2.0rc1+local"}[name]

    wanted = ["old>=2.0", "new>=2.9", "gone>=1", "odd>=2.0", "extra>=1; extra == 'systemd'", "free"]
    assert list(program._lacking(wanted, version_of)) == [("old", "2.0", "1.9.3"), ("gone", "1", "")]


def test_a_clock_that_was_never_set_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 86_400.0)
    (found,) = program.clock(None)
    assert (found.level, found.fix) == (Level.ERROR, "sudo timedatectl set-ntp true")


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "wanted", "is_allowed"),
    [
        (0o600, 1, 1, 4, False),
        (0o600, 7, 1, 4, True),
        (0o640, 1, 8, 4, True),
        (0o604, 1, 1, 4, True),
        (0o064, 7, 8, 4, False),  # the owner's own bits count first
        (0o711, 1, 1, 1, True),
        (0o711, 1, 1, 5, False),
        (0o000, 0, 0, 6, True),
    ],
)
def test_modes_are_read_as_the_kernel_reads_them(mode: int, uid: int, gid: int, wanted: int, is_allowed: bool) -> None:
    status = os.stat_result((mode, 0, 0, 1, 7, 8, 0, 0, 0, 0))
    assert may(status, Identity(uid, gid), wanted) is is_allowed


SITE = "[Service]\nReadOnlyPaths=-/outputs\nReadWritePaths=-/loras\n"


def test_a_unit_of_another_version_and_a_token_that_is_gone_are_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lorawatch.config_loading import load

    unit, site, credentials = tmp_path / "lorawatch.service", tmp_path / "10-site.conf", tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "box").write_text("token")
    unit.write_text("[Unit]\n")
    site.write_text(f"{SITE}LoadCredential=gone:{credentials}/gone\n")
    file = tmp_path / "config.toml"
    file.write_text(
        '[watch]\ndirectories = ["/outputs", "/new"]\n[[destinations]]\nname = "box"\nkind = "directory"\n'
        'directory = "/loras"\n'
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, path in {"UNIT_FILE": unit, "SITE": site, "CREDENTIALS": credentials, "CONFIG_FILE": file}.items():
        monkeypatch.setattr(places, name, str(path))
    monkeypatch.setattr(service, "is_systemd_running", lambda: False)
    found = list(service.look(load(str(file), environ={}).config, str(file), ME))
    said = [(finding.level.value, finding.detail) for finding in found]
    assert [level for level, _ in said] == ["warning", "error", "error", "warning"]
    for (_, detail), word in zip(said, ["another version", "/new", "243/CREDENTIALS", "does not load it"], strict=True):
        assert word in detail
    assert all("service install" in finding.fix for finding in found)


def test_a_unit_of_the_user_s_own_manager_needs_lingering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".config/systemd/user").mkdir(parents=True)
    (tmp_path / ".config/systemd/user/lorawatch.service").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(service, "_LINGER", str(tmp_path / "linger"))
    found = next(service._of_user())
    assert found.fix.startswith("sudo loginctl enable-linger ")
