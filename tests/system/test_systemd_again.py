"""`service install` run again: the running service becomes what is on the disk, and is left alone otherwise."""

import pytest

from tests.factories import lora_bytes
from tests.system.mcp_in_machine import McpInMachine
from tests.system.serving import (
    CONFIGURATION,
    DROP_INS,
    LORAS,
    OUTPUTS,
    PROGRAM,
    Serving,
    as_readme,
    configuration,
    destination,
    readme_block,
    render_box,
)

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]

ONE_KIND = ("--watch", OUTPUTS, "--to", LORAS)
LORA = lora_bytes(seed=6, size_bytes=200_000)
SECOND = "/comfyui/second"
TWO_KINDS = 'state_directory = "/var/lib/lorawatch"\n' + configuration(
    tables=destination("comfyui", LORAS) + destination("second", SECOND)
)


def test_a_second_installation_changes_nothing_and_does_not_restart(serving: Serving) -> None:
    serving.install(*ONE_KIND)
    process = serving.property("MainPID")
    said = serving.install()
    assert "write" not in said.replace("writes", "")
    assert serving.property("MainPID") == process
    assert "outdated" not in serving.install()
    assert serving.property("MainPID") == process


def test_what_a_refused_check_had_left_undone_is_done_after_its_cause_is_removed(serving: Serving) -> None:
    serving.install(*ONE_KIND)
    process = serving.property("MainPID")
    serving.machine.run("install", "-d", "-m", "0755", SECOND)
    serving.configure(TWO_KINDS)
    refused = serving.machine.run(PROGRAM, "service", "install", check=False)
    assert refused.returncode == 3
    assert "not restarted: it goes on as before" in refused.stderr
    assert (serving.property("MainPID"), serving.property("ActiveState")) == (process, "active")
    serving.machine.run("setfacl", "-m", "u:lorawatch:rwx", "-m", "d:u:lorawatch:rwx", SECOND)
    assert "outdated: " in serving.install()
    serving.save(f"{OUTPUTS}/cat.safetensors", LORA)
    serving.wait_for("delivery.delivered", destination="second")


def test_after_an_upgrade_in_place_the_new_program_runs(serving: Serving) -> None:
    serving.install(*ONE_KIND)
    process = serving.property("MainPID")
    as_readme(serving.machine, readme_block()[2])
    said = as_readme(serving.machine, "sudo lorawatch service install").stdout
    assert "outdated: the program has changed" in said
    assert serving.property("MainPID") != process
    process = serving.property("MainPID")
    serving.install()
    assert serving.property("MainPID") == process


def test_a_token_that_was_changed_is_used(serving: Serving) -> None:
    line = 'sudo install -m 600 /dev/stdin /etc/lorawatch/credentials/render-box <<< "$TOKEN"'
    with McpInMachine(serving.machine, token="the-new-one") as server:
        serving.configure(render_box(server.url))
        serving.install()
        as_readme(serving.machine, line, environ=("TOKEN=the-old-one",))
        serving.install()
        serving.save(f"{OUTPUTS}/cat.safetensors", LORA)
        refused = serving.wait_for("destination.down", destination="render-box")
        assert refused["LORAWATCH_CODE"] == "not-authorized"
        as_readme(serving.machine, line, environ=("TOKEN=the-new-one",))
        said = as_readme(serving.machine, "sudo lorawatch service install").stdout
        assert "outdated: /etc/lorawatch/credentials/render-box has changed" in said
        assert "the-new-one" not in said
        serving.wait_for("delivery.delivered", destination="render-box")


def test_a_configuration_or_a_drop_in_that_was_changed_is_in_force(serving: Serving) -> None:
    serving.install(*ONE_KIND)
    text = serving.machine.run("cat", CONFIGURATION).stdout
    serving.configure(text.replace('"{file_name}"', '"{family}/{file_name}"'))
    assert f"outdated: {CONFIGURATION} has changed" in serving.install()
    serving.save(f"{OUTPUTS}/cat.safetensors", LORA)
    serving.wait_for("delivery.delivered")
    assert serving.names() == {"flux.1/cat.safetensors"}
    serving.drop_in("[Service]\nEnvironment=MINE=1\n")
    assert f"outdated: {DROP_INS}/override.conf has changed" in serving.install()
    serving.machine.run("rm", f"{DROP_INS}/override.conf")
    assert f"outdated: {DROP_INS} has changed" in serving.install()
    assert "MINE" not in serving.property("Environment")


def test_a_destination_that_is_made_after_the_start_is_said_to_need_a_restart(serving: Serving) -> None:
    serving.configure(TWO_KINDS)
    serving.install()
    serving.save(f"{OUTPUTS}/cat.safetensors", LORA)
    serving.wait_for("destination.down", destination="second", code="destination-missing")
    serving.machine.run("install", "-d", "-m", "0777", SECOND)
    told = serving.wait_for("destination.down", destination="second", code="destination-read-only")
    assert "sudo systemctl restart lorawatch" in told["MESSAGE"]
    assert f"outdated: it may not write into {SECOND} yet" in serving.install()
    serving.wait_for("delivery.delivered", destination="second")


def test_the_check_tries_the_service_as_a_person_s_own_drop_in_makes_it(serving: Serving) -> None:
    command = f"ExecStart=\nExecStart={PROGRAM} run --config {CONFIGURATION} --log-level debug\n"
    mine = f"[Service]\n{command}WatchdogSec=90\nExecStopPost=/bin/echo over\n"
    serving.drop_in(mine)
    serving.install(*ONE_KIND)
    assert "--log-level debug" in serving.property("ExecStart")
    checks = serving.machine.run("journalctl", "-u", "lorawatch-check", f"--since=@{int(serving.began_at)}").stdout
    assert "daemon" not in checks, "the check asks, it does not work"
    assert "over" not in checks
    serving.drop_in(f"{mine}InaccessiblePaths={OUTPUTS}\n")
    refused = serving.machine.run(PROGRAM, "service", "install", check=False)
    assert refused.returncode == 3
    assert f"lorawatch may not list {OUTPUTS}" in refused.stderr


def test_a_purge_leaves_a_user_that_was_there_before(serving: Serving) -> None:
    serving.machine.run("useradd", "--system", "--user-group", "lorawatch")
    try:
        serving.install(*ONE_KIND)
        assert serving.property("User") == "lorawatch"
        serving.machine.run(PROGRAM, "service", "uninstall", "--purge")
        serving.machine.run("id", "lorawatch")
    finally:
        serving.machine.run("userdel", "lorawatch")


def test_a_purge_takes_the_user_and_its_group_whoever_has_joined_it(serving: Serving) -> None:
    serving.install(*ONE_KIND)
    as_readme(serving.machine, "sudo usermod -aG lorawatch $USER")
    serving.machine.run(PROGRAM, "service", "uninstall", "--purge")
    assert serving.machine.run("getent", "passwd", "lorawatch", check=False).returncode != 0
    assert serving.machine.run("getent", "group", "lorawatch", check=False).returncode != 0


def test_a_group_that_was_there_before_is_used_and_left(serving: Serving) -> None:
    serving.machine.run("groupadd", "--system", "lorawatch")
    serving.machine.run("usermod", "-aG", "lorawatch", "ann")
    try:
        serving.install(*ONE_KIND)
        assert serving.property("ActiveState") == "active"
        serving.machine.run(PROGRAM, "service", "uninstall", "--purge")
        serving.machine.run("getent", "group", "lorawatch")
    finally:
        serving.machine.run("groupdel", "lorawatch")
