"""What destinations keep that can touch their directories: ComfyUI knows its lists by the directories' times."""

import os
from collections.abc import Sequence

from lorawatch.domain.ports import Destination, Toucher
from tests.contract.bench import ONE, Sender, Shelf, delivered

LONG_AGO = 1_000_000


class DirectoryShelf:
    def __init__(self, root: str) -> None:
        self.root = root

    def names(self) -> Sequence[str]:
        return os.listdir(self.root)

    def read(self, name: str) -> bytes | None:
        try:
            with open(os.path.join(self.root, name), "rb") as file:
                return file.read()
        except (FileNotFoundError, IsADirectoryError):
            return None

    def put(self, name: str, content: bytes) -> None:
        with open(os.path.join(self.root, name), "xb") as file:
            file.write(content)

    def put_link(self, name: str, target: str) -> None:
        os.symlink(target, os.path.join(self.root, name))

    def take(self, name: str) -> None:
        os.unlink(os.path.join(self.root, name))


class TouchingSuite:
    """Beside the suite of every destination, for those whose shelf is a directory."""

    def test_every_directory_that_leads_to_a_name_can_be_touched_and_nothing_else_changes(
        self, destination: Destination, shelf: Shelf, sender: Sender
    ) -> None:
        assert isinstance(shelf, DirectoryShelf)
        assert isinstance(destination, Toucher)
        delivered(destination, sender.consignment(name="a/b/cat.safetensors"))
        folders = [shelf.root, os.path.join(shelf.root, "a"), os.path.join(shelf.root, "a", "b")]
        for folder in folders:
            os.utime(folder, (LONG_AGO, LONG_AGO))
        destination.touch(["a/b/cat.safetensors"])
        assert all(os.stat(folder).st_mtime > LONG_AGO for folder in folders)
        assert shelf.read("a/b/cat.safetensors") == ONE
        assert [os.listdir(folder) for folder in folders] == [["a"], ["b"], ["cat.safetensors"]]
