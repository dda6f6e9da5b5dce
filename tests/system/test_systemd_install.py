"""`service install` on a machine with a real systemd: what it makes, what it refuses, what it leaves. Needs root."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.factories import lora_bytes
from tests.system.nspawn import PROJECT, Machine
from tests.system.serving import (
    CONFIGURATION,
    LORAS,
    OUTPUTS,
    PROGRAM,
    TRAINER,
    Serving,
    as_readme,
    configuration,
    destination,
    readme_commands,
)

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

ONE_KIND = ("--watch", OUTPUTS, "--to", LORAS)
LORA = lora_bytes(seed=1, size_bytes=200_000)
MOST_EXPOSURE = 2.0


def test_the_readme_s_commands_end_with_a_running_service_that_delivers(serving: Serving) -> None:
    as_readme(serving.machine, readme_commands()[-1])
    assert serving.property("ActiveState") == "active"
    assert serving.property("UnitFileState") == "enabled"
    assert serving.property("User") == "lorawatch"
    serving.save(f"{OUTPUTS}/job/cat.safetensors", LORA)
    serving.wait_for("delivery.delivered", file=f"{OUTPUTS}/job/cat.safetensors")
    assert serving.contents() == {"cat.safetensors": LORA}
    assert serving.machine.run("stat", "-c", "%a %U", f"{LORAS}/cat.safetensors").stdout == "664 lorawatch\n"


def test_a_dry_run_prints_every_step_and_does_nothing(serving: Serving) -> None:
    before = serving.machine.run("find", "/etc", "/var/lib", "/opt", "-newermt", "now").stdout
    said = serving.install("--dry-run", *ONE_KIND)
    for step in ("useradd --system", f"write {CONFIGURATION}", "ProtectSystem=strict", "systemctl enable"):
        assert step in said
    assert f"ReadWritePaths=-{LORAS}" in said
    assert serving.machine.run("find", "/etc", "/var/lib", "/opt", "-newermt", "now").stdout == before
    assert serving.property("LoadState") == "not-found"


def test_a_second_installation_changes_nothing_and_does_not_restart(serving: Serving) -> None:
    serving.install(*ONE_KIND)
    process = serving.property("MainPID")
    said = serving.install()
    assert "write" not in said.replace("writes", "")
    assert serving.property("MainPID") == process


def test_a_new_destination_is_let_through_the_sandbox_by_installing_again(serving: Serving) -> None:
    serving.install(*ONE_KIND)
    serving.machine.run("install", "-d", "-m", "2775", "-g", "users", "/comfyui/second")
    tables = destination("comfyui", LORAS) + destination(
        "second", "/comfyui/second", 'name_template = "{family}/{file_name}"'
    )
    serving.configure('state_directory = "/var/lib/lorawatch"\n' + configuration(tables=tables))
    serving.install()
    serving.save(f"{OUTPUTS}/cat.safetensors", LORA)
    serving.wait_for("delivery.delivered", destination="second")
    listed = serving.machine.run("find", "/comfyui/second", "-mindepth", "1", "-printf", "%P %m %g\\n").stdout
    assert listed == "flux.1 2775 users\nflux.1/cat.safetensors 664 users\n"


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
    refused = serving.machine.run(PROGRAM, "service", "install", check=False)
    assert refused.returncode == 3
    assert f"sudo lorawatch service install --user {TRAINER}" in refused.stderr
    serving.install("--user", TRAINER)
    assert serving.property("User") == TRAINER
    serving.wait_for("delivery.delivered", file=path)
    assert serving.contents() == {"private.safetensors": LORA}
    serving.install()
    assert serving.property("User") == TRAINER, "the choice stays"


def test_a_lora_of_root_s_with_mode_0600_is_delivered_with_the_one_privilege_that_reads(serving: Serving) -> None:
    path = f"{OUTPUTS}/roots.safetensors"
    serving.save(path, LORA, owner="root", mode="0600")
    refused = serving.machine.run(PROGRAM, "service", "install", *ONE_KIND, check=False)
    assert refused.returncode == 3
    assert "--private-files" in refused.stderr
    assert "--user root" not in refused.stderr
    serving.install("--private-files")
    serving.wait_for("delivery.delivered", file=path)
    assert serving.contents() == {"roots.safetensors": LORA}
    process = Path(f"/proc/{serving.machine.pid}/root/proc/{serving.property('MainPID')}/status").read_text()
    assert re.search(r"^CapEff:\t0*4$", process, re.MULTILINE), (
        "CAP_DAC_READ_SEARCH is number 2, and nothing else is there"
    )


def test_from_a_home_directory_the_service_gets_a_copy_that_root_owns(serving: Serving) -> None:
    machine = serving.machine
    machine.run("mv", "/opt/lorawatch", "/opt/readme")
    machine.run("sh", "-euc", "python3 -m venv --without-pip /root/.venv && cp -r /opt/readme/lib /root/.venv/")
    try:
        run_from_home = ("/root/.venv/bin/python", "-m", "lorawatch", "service", "install")
        machine.run(*run_from_home, *ONE_KIND)
        assert serving.property("ActiveState") == "active"
        assert machine.run("find", "/opt/lorawatch", "!", "-user", "root").stdout == ""
        serving.save(f"{OUTPUTS}/cat.safetensors", LORA)
        serving.wait_for("delivery.delivered")
        process = serving.property("MainPID")
        machine.run(*run_from_home)
        assert serving.property("MainPID") == process, "the copy is the same: nothing is restarted"
        machine.run(PROGRAM, "service", "uninstall", "--purge")
        assert machine.run("ls", "/opt").stdout == "readme\n"
    finally:
        machine.run("sh", "-euc", "rm -rf /root/.venv /opt/lorawatch && mv /opt/readme /opt/lorawatch")


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
    serving.machine.run(PROGRAM, "service", "uninstall")
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
