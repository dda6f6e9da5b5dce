"""The service under a real systemd: start, journal, reload, stop, kill, hang, mount, reboot. Needs root."""

import hashlib
import json
import time

import pytest

from tests.factories import lora_bytes
from tests.system.hanging import Hanging
from tests.system.nspawn import Machine, eventually
from tests.system.serving import CONFIGURATION, LORAS, OUTPUTS, Serving, configuration, destination

pytestmark = [pytest.mark.system, pytest.mark.timeout(1800)]

LORA = lora_bytes(seed=2, size_bytes=200_000)
LARGE_BYTES = 800_000_000  # at 1 GB/s there is time enough to stop in the middle
# How long the unit of a test allows a hang; half of it makes a hang.
WATCHDOG_SECONDS = 10
SHORT_WATCHDOG = f"[Service]\nWatchdogSec={WATCHDOG_SECONDS}\nRestartSec=1\n"


def state_of(text: str) -> str:
    return 'state_directory = "/var/lib/lorawatch"\n' + text


@pytest.fixture
def running(serving: Serving) -> Serving:
    serving.configure(state_of(configuration()))
    serving.install()
    return serving


def test_it_is_active_only_when_it_is_ready(running: Serving) -> None:
    serving = running
    serving.systemctl("stop")
    with Hanging(serving.machine, OUTPUTS, is_local=True):
        serving.systemctl("start", "--no-block")
        time.sleep(3)
        assert serving.property("ActiveState") == "activating"
        assert len(serving.entries("daemon.ready")) == 1, "only that of the first start"
    serving.wait_for_state("active")
    serving.wait_for("daemon.ready", count=2)


def test_the_status_line_says_how_everything_is(running: Serving) -> None:
    def is_shown(line: str) -> bool:
        return running.property("StatusText") == line

    def shown() -> str:
        return running.property("StatusText")

    running.save(f"{OUTPUTS}/cat.safetensors", LORA)
    eventually(lambda: is_shown("watching 1 folder · 1 delivered"), shown)
    table = '[[destinations]]\nname = "render-box"\nkind = "comfyui-mcp"\nurl = "http://127.0.0.1:9"\n'
    running.configure(state_of(configuration(tables=destination("comfyui", LORAS) + table)))
    running.systemctl("reload")
    running.save(f"{OUTPUTS}/dog.safetensors", LORA)
    # What was there before the new destination is its backlog: existing = "deliver".
    eventually(lambda: is_shown("watching 1 folder · 2 waiting for render-box · 2 delivered"), shown)


def test_a_reload_takes_a_good_configuration_and_refuses_a_bad_one(running: Serving) -> None:
    serving = running
    process = serving.property("MainPID")
    serving.configure("watch = 3\n")
    serving.systemctl("reload")
    refused = serving.wait_for("daemon.degraded")
    assert "kept the old configuration" in refused["MESSAGE"]
    serving.wait_for_state("active")
    serving.save(f"{OUTPUTS}/old.safetensors", LORA)
    serving.wait_for("delivery.delivered", file=f"{OUTPUTS}/old.safetensors")
    serving.configure(state_of(configuration(watch='include = ["**/new*.safetensors"]')))
    serving.systemctl("reload")
    serving.wait_for("daemon.reloaded")
    serving.wait_for_state("active")
    serving.save(f"{OUTPUTS}/other.safetensors", LORA)
    serving.save(f"{OUTPUTS}/new.safetensors", LORA)
    serving.wait_for("delivery.delivered", file=f"{OUTPUTS}/new.safetensors")
    assert serving.names() == {"old.safetensors", "new.safetensors"}
    assert serving.property("MainPID") == process


def test_a_configuration_error_is_not_tried_again(serving: Serving) -> None:
    serving.configure(state_of(configuration()))
    serving.install()
    serving.systemctl("stop")
    serving.configure("[watch]\ndirektories = 1\n")
    serving.machine.run("systemctl", "start", "lorawatch", check=False)
    assert serving.property("ExecMainStatus") == "78"
    assert serving.property("ActiveState") == "failed"
    assert serving.property("NRestarts") == "0"


def test_a_stop_in_the_middle_of_a_copy_is_quick_and_the_next_start_finishes_it(running: Serving) -> None:
    serving = running
    large = lora_bytes(seed=3, size_bytes=LARGE_BYTES)
    serving.machine.path(f"{OUTPUTS}/.tmp").write_bytes(large)
    serving.machine.run("sh", "-c", f"chmod 644 {OUTPUTS}/.tmp && mv {OUTPUTS}/.tmp {OUTPUTS}/large.safetensors")

    def is_copying() -> bool:
        sizes = serving.machine.run("find", LORAS, "-name", ".*", "-type", "f", "-size", "+100M").stdout
        return bool(sizes)

    eventually(is_copying, serving.story)
    serving.systemctl("stop")
    assert serving.property("Result") == "success", "else systemd had to kill it, after TimeoutStopSec="
    assert "large.safetensors" not in serving.machine.run("ls", LORAS).stdout
    serving.systemctl("start")
    serving.wait_for("delivery.delivered", timeout=120)
    told = serving.wait_for("file.accepted")
    with open(serving.machine.path(f"{LORAS}/large.safetensors"), "rb") as delivered:
        assert hashlib.file_digest(delivered, "sha256").hexdigest() == told["LORAWATCH_SHA256"]
    assert hashlib.sha256(large).hexdigest() == told["LORAWATCH_SHA256"]
    assert serving.machine.run("ls", "-A", LORAS).stdout == "large.safetensors\n"


def test_after_a_kill_it_is_restarted_and_finishes_everything_once(running: Serving) -> None:
    serving = running
    serving.drop_in("[Service]\nRestartSec=1\n")
    files = {f"{number}.safetensors": lora_bytes(seed=number, size_bytes=5_000_000) for number in range(20)}
    for name, content in files.items():
        serving.save(f"{OUTPUTS}/{name}", content)
    serving.wait_for("delivery.delivered", count=3)
    serving.machine.run("systemctl", "kill", "--kill-whom=main", "--signal=SIGKILL", "lorawatch")
    serving.wait_for("daemon.ready", count=2)
    eventually(lambda: serving.names() == set(files), serving.story)
    assert serving.contents() == files
    assert serving.property("NRestarts") == "1"


def test_a_main_thread_that_hangs_is_answered_by_the_watchdog(running: Serving) -> None:
    serving = running
    serving.drop_in(f"{SHORT_WATCHDOG}TimeoutStopSec=1\n")  # it will not hear SIGABRT either
    serving.systemctl("restart")
    serving.machine.run("systemctl", "kill", "--kill-whom=main", "--signal=SIGSTOP", "lorawatch")
    eventually(lambda: serving.property("NRestarts") == "1", serving.story)
    serving.wait_for_state("active")
    serving.save(f"{OUTPUTS}/cat.safetensors", LORA)
    serving.wait_for("delivery.delivered")


def test_an_intake_that_hangs_on_a_local_disk_is_answered_by_the_watchdog(running: Serving) -> None:
    serving = running
    serving.machine.run("mkdir", f"{OUTPUTS}/disk")
    serving.drop_in(SHORT_WATCHDOG)
    serving.systemctl("restart")
    with Hanging(serving.machine, f"{OUTPUTS}/disk", is_local=True):
        serving.save(f"{OUTPUTS}/cat.safetensors", LORA)
        hung = serving.wait_for("watch.lost", code="io-stuck")
        assert hung["LORAWATCH_DIRECTORY"] == OUTPUTS
        eventually(lambda: serving.property("NRestarts") != "0", serving.story)
    assert any("Watchdog timeout" in each["MESSAGE"] for each in serving.entries())
    serving.wait_for_state("active")
    eventually(lambda: "cat.safetensors" in serving.names(), serving.story)


def test_a_lane_that_hangs_is_reported_while_the_others_deliver(serving: Serving) -> None:
    serving.machine.run("install", "-d", "-m", "0777", "/comfyui/dead")
    tables = destination("comfyui", LORAS) + destination("dead", "/comfyui/dead")
    serving.configure(state_of(configuration(tables=tables)))
    serving.install()
    serving.drop_in(SHORT_WATCHDOG)
    serving.systemctl("restart")
    process = serving.property("MainPID")
    with Hanging(serving.machine, "/comfyui/dead"):
        serving.save(f"{OUTPUTS}/cat.safetensors", LORA)
        serving.wait_for("delivery.delivered", destination="comfyui")
        serving.wait_for("destination.down", destination="dead", code="io-stuck")
        time.sleep(2 * WATCHDOG_SECONDS)
        serving.save(f"{OUTPUTS}/dog.safetensors", LORA)
        serving.wait_for("delivery.delivered", destination="comfyui", file=f"{OUTPUTS}/dog.safetensors")
        assert (serving.property("MainPID"), serving.property("NRestarts")) == (process, "0")
    serving.wait_for("delivery.delivered", destination="dead", count=2)
    assert serving.names("/comfyui/dead") == {"cat.safetensors", "dog.safetensors"}


@pytest.mark.parametrize("is_mount_point_there", [True, False], ids=["mount-point", "below-a-mount-point"])
def test_a_destination_that_is_missing_at_boot_gets_what_waited_once_it_is_mounted(
    serving: Serving, *, is_mount_point_there: bool
) -> None:
    point = "/comfyui/disk"
    directory = point if is_mount_point_there else f"{point}/loras"
    machine = serving.machine
    machine.run("mkdir", point)
    machine.run("mount", "-t", "tmpfs", "disk", point)
    machine.run("install", "-d", "-m", "0777", directory)
    serving.configure(state_of(configuration(tables=destination("comfyui", directory))))
    serving.install()
    machine.reboot()  # no fstab brings the disk back
    try:
        serving.wait_for_state("active")
        serving.save(f"{OUTPUTS}/cat.safetensors", LORA)
        down = serving.wait_for("destination.down", destination="comfyui")
        assert down["LORAWATCH_CODE"] == ("destination-unmounted" if is_mount_point_there else "destination-missing")
        assert machine.run("ls", "-A", point).stdout == ""
        eventually(lambda: "1 waiting for comfyui" in serving.property("StatusText"), serving.story)
        machine.run("mount", "-t", "tmpfs", "disk", point)
        machine.run("install", "-d", "-m", "0777", directory)
        serving.wait_for("delivery.delivered")
        assert serving.contents(directory) == {"cat.safetensors": LORA}
    finally:
        serving.systemctl("stop")
        machine.run("umount", "--lazy", point, check=False)


def test_a_reboot_in_the_middle_of_a_backlog_loses_and_doubles_nothing(running: Serving, machine: Machine) -> None:
    serving = running
    serving.systemctl("stop")
    files = {f"{number}.safetensors": lora_bytes(seed=number, size_bytes=5_000_000) for number in range(40)}
    for name, content in files.items():
        serving.save(f"{OUTPUTS}/{name}", content)
    serving.systemctl("start")
    serving.wait_for("delivery.delivered", count=3)
    machine.reboot()
    serving.wait_for_state("active")
    eventually(lambda: serving.names() == set(files), serving.story)
    assert serving.contents() == files
    serving.wait_for("daemon.ready", count=3)
    told = [each["LORAWATCH_DELIVERY_ID"] for each in serving.entries("delivery.delivered")]
    assert len(set(told)) == len(files)
    status = json.loads(machine.run("lorawatch", "status", "--json", "--config", CONFIGURATION).stdout)
    assert status["counts"]["delivered"] == len(files)
