"""The README's section on the service, line by line, as a person with sudo runs it on a real systemd. Needs root.

Its first lines, up to the installation, are run when the machine is made; tests/unit/test_readme.py holds that no
command of the section is left out.
"""

import pytest

from tests.factories import lora_bytes
from tests.system.nspawn import PYTHON, Machine
from tests.system.serving import (
    CONFIGURATION,
    DROP_INS,
    LORAS,
    OUTPUTS,
    PERSON,
    PROGRAM,
    Serving,
    as_readme,
    configuration,
    destination,
    readme_block,
)

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]

CAT, DOG = f"{OUTPUTS}/cat.safetensors", f"{OUTPUTS}/dog.safetensors"
LORA = lora_bytes(seed=8, size_bytes=200_000)
GIVES_UP = 'state_directory = "/var/lib/lorawatch"\n' + configuration(
    tables=destination("comfyui", LORAS) + destination("missing", "/comfyui/missing")
).replace("[retry]", "[retry]\ngive_up_after_seconds = 0.5")
# What `systemctl edit` starts: it writes what a person would type.
EDITOR = "#!/bin/sh\nprintf '[Service]\\nEnvironment=MINE=1\\n' > \"$1\"\n"


@pytest.fixture
def installed(serving: Serving) -> Serving:
    as_readme(serving.machine, readme_block()[-1])
    return serving


def test_the_commands_end_with_a_running_service_that_delivers(installed: Serving) -> None:
    assert installed.property("ActiveState") == "active"
    assert installed.property("UnitFileState") == "enabled"
    assert installed.property("User") == "lorawatch"
    installed.save(f"{OUTPUTS}/job/cat.safetensors", LORA)
    installed.wait_for("delivery.delivered", file=f"{OUTPUTS}/job/cat.safetensors")
    assert installed.contents() == {"cat.safetensors": LORA}
    assert installed.machine.run("stat", "-c", "%a %U", f"{LORAS}/cat.safetensors").stdout == "664 lorawatch\n"


def test_the_installation_is_small(machine: Machine) -> None:
    """Without what every new environment has: pip and setuptools."""
    site_packages = f"/opt/lorawatch/lib/python{PYTHON}/site-packages"
    others = [
        word for name in ("pip*", "setuptools*", "pkg_resources", "_distutils_hack") for word in ("--exclude", name)
    ]
    size_bytes = int(machine.run("du", "-sb", *others, site_packages).stdout.split()[0])
    assert 20_000_000 < size_bytes < 120_000_000


def test_how_it_is_can_be_seen_without_sudo_after_joining_the_group(installed: Serving) -> None:
    machine = installed.machine
    installed.save(CAT, LORA)
    installed.wait_for("delivery.delivered", file=CAT)
    shown = as_readme(machine, "systemctl status lorawatch").stdout
    assert "active (running)" in shown
    assert 'Status: "watching 1 folder' in shown
    said = as_readme(machine, "lorawatch service status").stdout
    assert "active (running), enabled at boot" in said
    refused = as_readme(machine, "lorawatch status", check=False)
    assert refused.returncode != 0
    assert "sudo" in refused.stderr
    as_readme(machine, "sudo usermod -aG lorawatch $USER")
    assert "cat.safetensors" in as_readme(machine, "lorawatch status").stdout


@pytest.mark.parametrize("is_running", [True, False], ids=["beside-the-service", "while-it-is-stopped"])
def test_what_failed_is_put_back_with_sudo(serving: Serving, *, is_running: bool) -> None:
    serving.configure(GIVES_UP)
    serving.install()
    serving.save(CAT, LORA)
    serving.wait_for("delivery.failed", file=CAT, destination="missing")
    if not is_running:
        serving.systemctl("stop")
    serving.machine.run("install", "-d", "-m", "0777", "/comfyui/missing")
    as_readme(serving.machine, "sudo lorawatch retry --all")
    serving.systemctl("restart")  # a directory that was not there at its start is read-only for it
    serving.wait_for("delivery.delivered", file=CAT, destination="missing")


def test_a_changed_configuration_is_reloaded_and_a_directory_let_through(installed: Serving) -> None:
    machine = installed.machine
    text = machine.run("cat", CONFIGURATION).stdout
    installed.configure(text.replace('"{file_name}"', '"{family}/{file_name}"'))
    as_readme(machine, "sudo systemctl reload lorawatch")
    installed.wait_for("daemon.reloaded")
    machine.run("install", "-d", "-m", "0777", "/comfyui/second")
    installed.configure(text + destination("second", "/comfyui/second"))
    as_readme(machine, "sudo lorawatch service install")
    installed.save(CAT, LORA)
    installed.wait_for("delivery.delivered", destination="second", file=CAT)


def test_the_unit_is_changed_by_a_drop_in_that_stays(installed: Serving) -> None:
    machine = installed.machine
    machine.run("tee", "/usr/local/bin/editor", stdin=EDITOR.encode())
    machine.run("chmod", "755", "/usr/local/bin/editor")
    # It insists on a terminal, which script(1) gives it.
    as_readme(machine, "sudo systemctl edit lorawatch", through=("script", "-qec"))
    assert "MINE=1" in machine.run("cat", f"{DROP_INS}/override.conf").stdout
    as_readme(machine, "sudo lorawatch service install")
    assert installed.property("Environment") == "MINE=1"
    as_readme(machine, "sudo lorawatch service uninstall")
    assert installed.property("LoadState") == "not-found"
    assert "MINE=1" in machine.run("cat", f"{DROP_INS}/override.conf").stdout


def test_a_removal_leaves_nothing_but_what_was_delivered(installed: Serving) -> None:
    machine = installed.machine
    installed.save(CAT, LORA)
    installed.wait_for("delivery.delivered", file=CAT)
    machine.run(PROGRAM, "service", "uninstall", "--purge")
    machine.run("cp", "-a", "/opt/lorawatch", "/opt/kept")
    try:
        as_readme(machine, "sudo rm -r /opt/lorawatch /usr/local/bin/lorawatch")
        places = "/etc /opt /usr/local /var /run/systemd -not -path '/var/log/*' -not -path '/opt/kept*'"
        assert machine.run("sh", "-c", f"find {places} -name '*lorawatch*'").stdout == ""
        assert installed.contents() == {"cat.safetensors": LORA}
    finally:
        machine.run("mv", "/opt/kept", "/opt/lorawatch")
        as_readme(machine, readme_block()[3])


def test_the_journal_is_asked_as_the_lines_say(serving: Serving) -> None:
    machine = serving.machine
    serving.configure(GIVES_UP)
    as_readme(machine, "sudo lorawatch service install")
    machine.run("usermod", "-aG", "systemd-journal", PERSON)
    serving.save(CAT, LORA)
    serving.save(DOG, LORA)
    serving.wait_for("delivery.delivered", file=CAT, destination="comfyui")
    serving.wait_for("delivery.delivered", file=DOG, destination="comfyui")
    serving.wait_for("delivery.failed", file=CAT)

    followed = as_readme(machine, "journalctl -fu lorawatch", through=("timeout", "5", "bash", "-c"), check=False)
    assert followed.returncode == 124, "it follows until it is stopped"
    assert "delivered cat.safetensors → comfyui" in followed.stdout
    failed = as_readme(machine, "journalctl -u lorawatch LORAWATCH_EVENT=delivery.failed").stdout
    assert "failed cat.safetensors → missing" in failed
    assert "delivered" not in failed
    one = as_readme(machine, "journalctl -u lorawatch LORAWATCH_FILE=/ai-toolkit/outputs/cat.safetensors").stdout
    assert "accepted cat.safetensors" in one
    assert "dog" not in one
    fields = as_readme(machine, "journalctl -u lorawatch LORAWATCH_DESTINATION=comfyui --since today -o json").stdout
    assert '"LORAWATCH_EVENT":"delivery.delivered"' in fields
    assert '"missing"' not in fields
    warned = as_readme(machine, "journalctl -u lorawatch -p warning").stdout
    assert "failed cat.safetensors → missing" in warned
    assert "delivered cat.safetensors" not in warned
