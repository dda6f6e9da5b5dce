"""What the docker destination runs in a container keeps every promise: here in shells of this machine."""

import os
import stat
from collections.abc import Callable, Sequence

import pytest

from lorawatch.destinations.docker.destination import DockerDestination, Settings
from lorawatch.destinations.docker.reach import BrokenOffError, NoToolsError, Reach
from lorawatch.destinations.docker.shell import ShellReach
from lorawatch.domain.errors import DeliveryDelayedError, DestinationDownError, DestinationError, NameTakenError
from lorawatch.domain.ports import Destination
from lorawatch.transport import holding
from tests.contract.bench import TWO, Sender, Shelf, delivered, prepare
from tests.contract.destination_suite import DestinationSuite
from tests.contract.touching import DirectoryShelf

BUSYBOX = "/bin/busybox"
INSTANCE = "0123456789ab"


class Here:
    """This machine, as a container would be."""

    words = "this machine"
    why_archive: str | None = None

    def __init__(self, shell: Sequence[str]) -> None:
        self._reach = ShellReach(shell, feeding=shell, where=self.words)

    def reach(self) -> Reach:
        return self._reach

    def explain(self, error: BrokenOffError) -> DestinationError:
        return DeliveryDelayedError(error.message)


def open_here(root: str, shell: Sequence[str] = ("sh",), **changes: int) -> DockerDestination:
    settings = Settings(root, owner="", file_mode=0o664, min_free_bytes=changes.get("min_free_bytes", 0))
    return DockerDestination(Here(shell), settings, name="there", instance=INSTANCE, key=root)


class TestShellOfThisMachine(DestinationSuite):
    shell: Sequence[str] = ("sh",)

    @pytest.fixture
    def root(self, tmp_path_factory: pytest.TempPathFactory) -> str:
        return str(tmp_path_factory.mktemp("loras"))

    @pytest.fixture
    def reopen(self, root: str) -> Callable[[], Destination]:
        return lambda: open_here(root, self.shell)

    @pytest.fixture
    def shelf(self, root: str) -> Shelf:
        return DirectoryShelf(root)

    def crash(self, destination: Destination) -> None:
        for name in list(holding._held):
            holding.release(name)


@pytest.mark.skipif(not os.path.exists(BUSYBOX), reason="busybox-static is not installed")
class TestShellOfBusybox(TestShellOfThisMachine):
    shell = (BUSYBOX, "sh")


def test_a_prepared_copy_that_somebody_touched_is_not_published(tmp_path: os.PathLike[str]) -> None:
    sender, root = Sender(os.path.join(tmp_path, "outputs")), os.path.join(tmp_path, "loras")
    os.mkdir(root)
    destination = open_here(root)
    prepared = prepare(destination, sender.consignment())
    with open(prepared.token, "r+b") as file:
        file.write(b"oops")
    (result,) = destination.publish([prepared])
    assert isinstance(result, DeliveryDelayedError)
    assert result.code == "destination-changed"
    assert not os.path.exists(os.path.join(root, "cat.safetensors"))


@pytest.mark.parametrize("is_link", [False, True])
def test_a_directory_and_a_link_at_the_name_are_left_alone(tmp_path: os.PathLike[str], is_link: bool) -> None:
    sender, root = Sender(os.path.join(tmp_path, "outputs")), os.path.join(tmp_path, "loras")
    taken = os.path.join(root, "cat.safetensors")
    os.makedirs(os.path.join(root, "elsewhere") if is_link else taken)
    if is_link:
        os.symlink("elsewhere", taken)
    destination = open_here(root)
    there = destination.find("cat.safetensors")
    assert there is not None
    for replaces in (None,) if is_link else (None, there):
        prepared = prepare(destination, sender.consignment(replaces=replaces))
        assert isinstance(destination.publish([prepared])[0], NameTakenError)
        destination.discard(prepared)
    assert destination.find("cat.safetensors") == there
    assert not os.listdir(os.path.join(root, "elsewhere") if is_link else taken)
    assert not [name for name in os.listdir(root) if name.endswith(".part")]


def test_a_missing_root_is_waited_for_and_never_created(tmp_path: os.PathLike[str]) -> None:
    sender, root = Sender(os.path.join(tmp_path, "outputs")), os.path.join(tmp_path, "loras")
    destination = open_here(root)
    calls: list[Callable[[], object]] = [
        lambda: destination.probe(needed_bytes=0),
        lambda: destination.find("cat.safetensors"),
        lambda: prepare(destination, sender.consignment()),
    ]
    for call in calls:
        with pytest.raises(DestinationDownError) as down:
            call()
        assert down.value.code == "destination-missing"
    assert not os.path.exists(root)


def test_a_disk_that_is_nearly_full_is_spared(tmp_path: os.PathLike[str]) -> None:
    sender, root = Sender(os.path.join(tmp_path, "outputs")), os.path.join(tmp_path, "loras")
    os.mkdir(root)
    full = open_here(root, min_free_bytes=1 << 60)
    for call in (lambda: full.probe(needed_bytes=1), lambda: prepare(full, sender.consignment())):
        with pytest.raises(DestinationDownError) as down:
            call()
        assert down.value.code == "low-disk-space"
    assert not os.listdir(root)


def test_files_get_the_mode_and_folders_keep_the_group_bit(tmp_path: os.PathLike[str]) -> None:
    sender, root = Sender(os.path.join(tmp_path, "outputs")), os.path.join(tmp_path, "loras")
    os.mkdir(root)
    os.chmod(root, 0o2755)
    consignment = sender.consignment(remote_name="flux/cat.safetensors")
    os.chmod(consignment.source_path, 0o600)
    delivered(open_here(root), consignment)
    assert stat.S_IMODE(os.stat(os.path.join(root, "flux/cat.safetensors")).st_mode) == 0o664
    assert stat.S_IMODE(os.stat(os.path.join(root, "flux")).st_mode) == 0o2775


def test_a_small_file_beside_is_written_whole_and_replaces_only_ours(tmp_path: os.PathLike[str]) -> None:
    root = os.path.join(tmp_path, "loras")
    os.mkdir(root)
    destination = open_here(root)
    first = destination.write_beside("cat.json", b"{}", replaces=None)
    second = destination.write_beside("cat.json", b"[]", replaces=first)
    with pytest.raises(NameTakenError):
        destination.write_beside("cat.json", b"3", replaces=first)
    assert destination.find("cat.json") == second
    assert os.listdir(root) == ["cat.json"]


def test_where_nothing_computes_a_hash_the_bytes_come_back_to_be_hashed(tmp_path: os.PathLike[str]) -> None:
    """A shell whose PATH has all the tools but sha256sum and openssl."""
    sender, root = Sender(os.path.join(tmp_path, "outputs")), os.path.join(tmp_path, "loras")
    tools = os.path.join(tmp_path, "bin")
    os.mkdir(root)
    os.mkdir(tools)
    for tool in ("cat", "chmod", "chown", "ln", "mkdir", "mv", "rm", "stat", "sync"):
        os.symlink(
            next(f"{at}/{tool}" for at in ("/usr/bin", "/bin") if os.path.exists(f"{at}/{tool}")), f"{tools}/{tool}"
        )
    shell = ("env", f"PATH={tools}", "/bin/sh")
    destination = open_here(root, shell)
    consignment = sender.consignment(TWO)
    prepared = prepare(destination, consignment)
    assert prepared.sha256 == consignment.delivery.artifact.sha256
    destination.publish([prepared])
    assert destination.digest("cat.safetensors") == consignment.delivery.artifact.sha256
    destination.sweep()  # without find


@pytest.mark.parametrize("shell", [("env", "PATH=/nonexistent", "/bin/sh"), ("env", "/nonexistent/sh")])
def test_a_shell_that_is_missing_or_lacks_a_tool_is_known_as_such(shell: Sequence[str]) -> None:
    reach = ShellReach(shell, feeding=shell, where="there")
    with pytest.raises(NoToolsError):
        reach.require_tools()


def test_a_call_that_is_cut_off_is_no_success(tmp_path: os.PathLike[str]) -> None:
    sender, root = Sender(os.path.join(tmp_path, "outputs")), os.path.join(tmp_path, "loras")
    os.mkdir(root)
    destination = open_here(root, ("sh", "-c", "echo end of the line; exit 1", "sh"))
    calls: list[Callable[[], object]] = [
        lambda: destination.find("a.st"),
        lambda: destination.probe(needed_bytes=0),
        lambda: prepare(destination, sender.consignment()),
    ]
    for call in calls:
        with pytest.raises(DeliveryDelayedError):
            call()
