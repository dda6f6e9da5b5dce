"""`service install` on a machine with a real systemd: what it makes, what it refuses, what it leaves. Needs root."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.factories import lora_bytes
from tests.system.nspawn import PROJECT, Machine, eventually
from tests.system.serving import (
    CHECKOUT,
    CONFIGURATION,
    DROP_INS,
    LORAS,
    OUTPUTS,
    PERSON,
    PROGRAM,
    TRAINER,
    Serving,
    as_readme,
    configuration,
    destination,
)

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]

ONE_KIND = ("--watch", OUTPUTS, "--to", LORAS)
LORA = lora_bytes(seed=1, size_bytes=200_000)
MOST_EXPOSURE = 2.0


# Everything that an installation could touch, with owner, mode, size and time; compiled Python apart, and what a
# running service writes.
_STATE = (
    "find /etc /opt /usr/local /ai-toolkit /comfyui -name __pycache__ -prune -o -printf '%p %u %g %m %s %C@\\n'"
    " 2>/dev/null | sort; find /var/lib /var/log -maxdepth 1 -name 'lorawatch*' -printf '%p %u %g %m\\n'"
    "; systemctl show lorawatch -p MainPID -p UnitFileState"
)


def state_of(machine: Machine) -> str:
    return machine.run("sh", "-c", _STATE).stdout


def test_a_dry_run_prints_every_step_and_does_nothing(serving: Serving) -> None:
    before = state_of(serving.machine)
    said = serving.install("--dry-run", *ONE_KIND)
    for step in (
        "useradd --system",
        f"write {CONFIGURATION}",
        f'directory = "{LORAS}"',
        "ProtectSystem=strict",
        f"ReadWritePaths=-{LORAS}",
        "check as lorawatch, inside the sandbox",
        "systemctl enable",
        "systemctl start",
    ):
        assert step in said
    assert state_of(serving.machine) == before
    by_a_person = serving.machine.run(
        "runuser", "-u", PERSON, "--", PROGRAM, "service", "install", "--dry-run", *ONE_KIND
    )
    assert by_a_person.stdout == said, "to look needs no root"


def test_a_dry_run_beside_a_running_service_leaves_it_alone_and_shows_no_token(serving: Serving) -> None:
    table = (
        '[[destinations]]\nname = "render-box"\nkind = "comfyui-mcp"\nurl = "http://127.0.0.1:9"\ntoken = "S3CRET"\n'
    )
    serving.configure(configuration(tables=destination("comfyui", LORAS) + table))
    said = serving.install()
    before = state_of(serving.machine)
    said += serving.install("--dry-run", "--private-files")
    said += serving.machine.run(PROGRAM, "service", "uninstall", "--purge", "--dry-run").stdout
    assert state_of(serving.machine) == before
    assert "CAP_DAC_READ_SEARCH" in said
    assert "remove /var/lib/lorawatch and everything in it" in said
    assert "userdel lorawatch" in said
    assert "S3CRET" not in said
    assert "S3CRET" in serving.machine.run("cat", CONFIGURATION).stdout


def test_without_options_and_configuration_it_takes_what_it_finds(serving: Serving) -> None:
    serving.install()
    serving.save(f"{OUTPUTS}/cat.safetensors", LORA)
    serving.wait_for("delivery.delivered")
    assert serving.contents() == {"cat.safetensors": LORA}


def test_where_there_is_nothing_to_find_it_asks_for_both_and_makes_nothing(serving: Serving) -> None:
    serving.machine.run("rm", "-rf", "/ai-toolkit", "/comfyui")
    before = state_of(serving.machine)
    refused = serving.machine.run(PROGRAM, "service", "install", check=False)
    assert refused.returncode == 78
    for option in ("--watch DIR", "--to DIR"):
        assert option in refused.stderr
    assert state_of(serving.machine) == before


def test_how_the_service_is_is_said_in_words_and_in_the_exit_code(serving: Serving) -> None:
    def status() -> tuple[int, str]:
        done = serving.machine.run(PROGRAM, "service", "status", check=False)
        return done.returncode, done.stdout

    assert status() == (3, "not installed; to do so: sudo lorawatch service install\n")
    serving.install(*ONE_KIND)
    eventually(lambda: "watching 1 folder" in status()[1], lambda: str(status()))
    code, words = status()
    assert code == 0
    assert "state:    active (running), enabled at boot" in words
    assert "user:     lorawatch" in words
    assert f"drop-in:  {DROP_INS}/10-site.conf" in words
    serving.systemctl("stop")
    code, words = status()
    assert code == 3
    assert "inactive (dead), enabled at boot" in words
    serving.configure("[watch]\ndirektories = 1\n")
    serving.machine.run("systemctl", "start", "lorawatch", check=False)
    code, words = status()
    assert code == 3
    assert "failed (failed)" in words
    assert "ended:    exit-code 78, a configuration error" in words
    assert "why:      journalctl -u lorawatch -n 30" in words


def test_a_new_destination_is_let_through_the_sandbox_by_installing_again(serving: Serving) -> None:
    serving.install(*ONE_KIND)
    serving.machine.run("install", "-d", "-m", "2775", "-g", "users", "/comfyui/second")
    tables = destination("comfyui", LORAS) + destination(
        "second", "/comfyui/second", 'name_template = "{family}/{file_name}"'
    )
    tables += '[log]\nfile = "/var/log/lorawatch/events.json"\n'
    serving.configure('state_directory = "/var/lib/lorawatch"\n' + configuration(tables=tables))
    serving.install()
    serving.save(f"{OUTPUTS}/cat.safetensors", LORA)
    serving.wait_for("delivery.delivered", destination="second")
    listed = serving.machine.run("find", "/comfyui/second", "-mindepth", "1", "-printf", "%P %m %g\\n").stdout
    assert listed == "flux.1 2775 users\nflux.1/cat.safetensors 664 users\n"
    assert '"delivery.delivered"' in serving.machine.run("cat", "/var/log/lorawatch/events.json").stdout


def test_the_state_directory_is_written_into_a_configuration_that_has_none(serving: Serving) -> None:
    serving.configure(configuration())
    serving.install()
    text = serving.machine.run("cat", CONFIGURATION).stdout
    assert text.startswith('state_directory = "/var/lib/lorawatch"')
    assert configuration() in text
    assert serving.machine.run("stat", "-c", "%a %U:%G", CONFIGURATION).stdout == "640 root:lorawatch\n"
    assert "delivered" in serving.machine.run("sh", "-c", "cd / && lorawatch service status").stdout
    assert serving.machine.run("lorawatch", "status", "--json").stdout.startswith("{")


@pytest.mark.parametrize(
    ("directory", "mode", "words"),
    [
        (OUTPUTS, "0700", "may not list"),
        (LORAS, "0755", "may not write into"),
        ("/comfyui/models", "0700", "may not enter"),
    ],
)
def test_what_the_user_may_not_do_is_said_before_anything_is_enabled(
    serving: Serving, directory: str, mode: str, words: str
) -> None:
    serving.machine.run("chmod", mode, directory)
    done = serving.machine.run(PROGRAM, "service", "install", *ONE_KIND, check=False)
    assert done.returncode == 3
    assert f"lorawatch {words} {directory}" in done.stderr
    assert "sudo setfacl" in done.stderr
    assert serving.property("UnitFileState") == "disabled"
    assert serving.property("ActiveState") == "inactive"
    serving.machine.run("chmod", "0777", directory)
    serving.install()
    assert serving.property("ActiveState") == "active"


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("InaccessiblePaths=/opt/lorawatch", "the program cannot be run by this user inside the sandbox"),
        ("LoadCredential=render-box:/nowhere", "a file in LoadCredential= cannot be read"),
    ],
)
def test_a_drop_in_with_which_the_service_could_not_start_is_said_before_it_is_tried(
    serving: Serving, setting: str, words: str
) -> None:
    serving.drop_in(f"[Service]\n{setting}\n")
    done = serving.machine.run(PROGRAM, "service", "install", *ONE_KIND, check=False)
    assert done.returncode == 3
    assert words in done.stderr
    assert serving.property("NRestarts") == "0"


def test_a_lora_of_mode_0600_is_named_with_its_cure_and_delivered_after_it(serving: Serving) -> None:
    serving.install(*ONE_KIND)
    path = f"{OUTPUTS}/private.safetensors"
    serving.save(path, LORA, mode="0600")
    told = serving.wait_for("file.unreadable", file=path)
    assert told["LORAWATCH_CODE"] == "permission-denied"
    assert told["PRIORITY"] in {"3", "4"}
    cure = f"sudo lorawatch service install --user {TRAINER}"
    assert cure in told["MESSAGE"]
    refused = serving.machine.run(PROGRAM, "service", "install", check=False)
    assert refused.returncode == 3
    assert cure in refused.stderr
    assert "it goes on as before" in refused.stderr
    as_readme(serving.machine, "sudo lorawatch service install --user trainer")
    assert serving.property("User") == TRAINER
    serving.wait_for("delivery.delivered", file=path)
    assert serving.contents() == {"private.safetensors": LORA}
    serving.install()
    assert serving.property("User") == TRAINER, "the choice stays"


def test_a_lora_of_mode_0600_is_delivered_after_the_trainer_has_opened_it(serving: Serving) -> None:
    serving.install(*ONE_KIND)
    path = f"{OUTPUTS}/private.safetensors"
    serving.save(path, LORA, mode="0600")
    serving.wait_for("file.unreadable", file=path)
    serving.machine.run("runuser", "-u", TRAINER, "--", "sh", "-c", f"chmod a+r {path}")
    serving.wait_for("delivery.delivered", file=path)


def test_a_lora_of_root_s_with_mode_0600_is_delivered_with_the_one_privilege_that_reads(serving: Serving) -> None:
    serving.install(*ONE_KIND)
    path = f"{OUTPUTS}/roots.safetensors"
    serving.save(path, LORA, owner="root", mode="0600")
    told = serving.wait_for("file.unreadable", file=path)
    refused = serving.machine.run(PROGRAM, "service", "install", check=False)
    assert refused.returncode == 3
    for words in (told["MESSAGE"], refused.stderr):
        assert "sudo lorawatch service install --private-files" in words
        assert "--user root" not in words
    as_readme(serving.machine, "sudo lorawatch service install --private-files")
    serving.wait_for("delivery.delivered", file=path)
    assert serving.contents() == {"roots.safetensors": LORA}
    process = Path(f"/proc/{serving.machine.pid}/root/proc/{serving.property('MainPID')}/status").read_text()
    assert re.search(r"^CapEff:\t0*4$", process, re.MULTILINE), (
        "CAP_DAC_READ_SEARCH is number 2, and nothing else is there"
    )


def test_from_pipx_in_a_home_directory_the_service_gets_a_copy_that_root_owns(serving: Serving) -> None:
    machine = serving.machine
    machine.run("mv", "/opt/lorawatch", "/opt/readme")
    try:
        # pipx would make this one too, and compile everything: two minutes on a busy machine.
        machine.run("python3", "-m", "venv", "/root/.local/pipx/shared")
        machine.run("sh", "-euc", f"pipx install {CHECKOUT}/dist/lorawatch-*.whl", environ=("PIP_NO_COMPILE=1",))
        installed = "/root/.local/pipx/venvs/lorawatch/lib/python3*/site-packages"
        run_from_home = ("/root/.local/bin/lorawatch", "service", "install")
        machine.run(*run_from_home, *ONE_KIND)
        assert serving.property("ActiveState") == "active"
        assert PROGRAM in serving.property("ExecStart")
        assert machine.run("find", "/opt/lorawatch", "!", "-user", "root").stdout == ""
        compiled = machine.run("find", "/opt/lorawatch", "-path", "*/lorawatch/__pycache__/app.*.pyc").stdout
        assert compiled, "its user could not, and would do it at each start"
        serving.save(f"{OUTPUTS}/cat.safetensors", LORA)
        serving.wait_for("delivery.delivered")
        process = serving.property("MainPID")
        machine.run(*run_from_home)
        assert serving.property("MainPID") == process, "the copy is the same: nothing is restarted"
        change = f'for file in {installed}/lorawatch/py.typed; do echo >> "$file"; done'
        machine.run("sh", "-euc", change)
        assert "outdated: the program has changed" in machine.run(*run_from_home).stdout
        assert serving.property("MainPID") != process
        machine.run(PROGRAM, "service", "uninstall", "--purge")
        assert machine.run("ls", "/opt").stdout == "readme\n"
    finally:
        machine.run("sh", "-euc", "rm -rf /root/.local /opt/lorawatch && mv /opt/readme /opt/lorawatch")


def test_the_installed_unit_is_clean_and_little_exposed(serving: Serving) -> None:
    serving.install(*ONE_KIND, "--private-files")
    verified = serving.machine.run("systemd-analyze", "verify", "lorawatch.service")
    assert verified.stdout + verified.stderr == ""
    rated = serving.machine.run("systemd-analyze", "security", "lorawatch.service").stdout
    found = re.search(r"exposure level for lorawatch.service: ([0-9.]+)", rated)
    assert found is not None
    assert float(found[1]) <= MOST_EXPOSURE


def test_the_shipped_unit_alone_is_little_exposed() -> None:
    unit = PROJECT / "systemd/lorawatch.service"
    limit = f"--threshold={MOST_EXPOSURE * 10:.0f}"  # in tenths
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", limit, unit], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_uninstalling_leaves_state_and_configuration_and_a_purge_does_not(serving: Serving) -> None:
    serving.install(*ONE_KIND)
    serving.save(f"{OUTPUTS}/cat.safetensors", LORA)
    serving.wait_for("delivery.delivered")
    serving.drop_in("[Service]\nEnvironment=MINE=1\n")
    for _ in range(2):  # a second time there is nothing to do, and nothing wrong
        as_readme(serving.machine, "sudo lorawatch service uninstall")
        assert serving.property("LoadState") == "not-found"
    mine = "/etc/systemd/system/lorawatch.service.d/override.conf"
    serving.machine.run("ls", CONFIGURATION, "/var/lib/lorawatch/journal.sqlite3", mine)
    serving.install()
    assert len(serving.entries("delivery.delivered")) == 1, "it is remembered as delivered"
    serving.machine.run(PROGRAM, "service", "uninstall", "--purge")
    gone = serving.machine.run("ls", "-d", "/etc/lorawatch", "/var/lib/lorawatch", "/var/log/lorawatch", check=False)
    assert gone.stdout == ""
    assert serving.machine.run("id", "lorawatch", check=False).returncode != 0
    assert serving.contents() == {"cat.safetensors": LORA}


def test_without_root_it_says_so(machine: Machine) -> None:
    done = machine.run(
        "setpriv", "--reuid=65534", "--clear-groups", PROGRAM, "service", "install", *ONE_KIND, check=False
    )
    assert done.returncode == 1
    assert "sudo" in done.stderr
