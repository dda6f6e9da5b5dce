"""What ComfyUI's lists say about a delivered file."""

import pytest

from lorawatch.domain.comfyui import ListedFile
from lorawatch.domain.listing import Folder, Shown, find_in, possible_names, why_missing, why_other
from lorawatch.domain.model import RemoteFile

LORAS = ("/comfyui/models/loras",)
SIZE = 1000


def folder(*files: ListedFile, has_sizes: bool = True, name: str = "loras") -> Folder:
    by_name: dict[str, list[ListedFile]] = {}
    for file in files:
        by_name.setdefault(file.name, []).append(file)
    return Folder(name, frozenset(by_name), by_name if has_sizes else None)


def found(
    listed: Folder, name: str = "cat.safetensors", *, directories: tuple[str, ...] = LORAS, at: float | None = None
) -> Shown | None:
    there = None if at is None else RemoteFile(name, SIZE, "1", modified_at=at)
    return find_in(listed, name, directories=directories, size_bytes=SIZE, there=there)


def test_a_name_is_looked_for_with_what_leads_to_it_first() -> None:
    assert possible_names("a/cat", ["/models/loras/mine"]) == [
        "models/loras/mine/a/cat",
        "loras/mine/a/cat",
        "mine/a/cat",
        "a/cat",
    ]
    assert possible_names("cat", []) == ["cat"]


def test_a_file_with_the_right_size_and_time_is_the_delivered_one() -> None:
    listed = folder(ListedFile("cat.safetensors", SIZE, 100.0))
    shown = found(listed, at=101.5)
    assert shown is not None
    assert (shown.file.name, shown.is_other) == ("cat.safetensors", False)


@pytest.mark.parametrize(
    ("file", "at", "words"),
    [
        (ListedFile("cat.safetensors", SIZE - 1, 100.0), 100.0, "with 999 bytes, not 1000"),
        (ListedFile("cat.safetensors", SIZE, 100.0), 103.0, "as an older file of the same size"),
        (ListedFile("cat.safetensors", SIZE, 103.0), 100.0, "as a later file of the same size"),
    ],
)
def test_another_size_or_time_is_another_file(file: ListedFile, at: float, words: str) -> None:
    shown = found(folder(file), at=at)
    assert shown is not None
    assert shown.is_other
    assert words in why_other("cat.safetensors", shown).reason


def test_what_is_not_told_is_not_held_against_a_file() -> None:
    for listed in (
        folder(ListedFile("cat.safetensors"), has_sizes=False),
        folder(ListedFile("cat.safetensors", None, None)),
    ):
        shown = found(listed, at=100.0)
        assert shown is not None
        assert not shown.is_other
    shown = found(folder(ListedFile("cat.safetensors", SIZE, 5.0)), at=None)
    assert shown is not None
    assert not shown.is_other


def test_the_own_sub_directory_goes_before_a_namesake_above_it() -> None:
    listed = folder(ListedFile("cat.safetensors", SIZE), ListedFile("mine/cat.safetensors", SIZE))
    shown = found(listed, directories=("/models/loras/mine",))
    assert shown is not None
    assert shown.file.name == "mine/cat.safetensors"


def test_the_first_of_several_model_paths_is_what_comfyui_opens() -> None:
    listed = folder(ListedFile("cat.safetensors", 5), ListedFile("cat.safetensors", SIZE))
    shown = found(listed)
    assert shown is not None
    assert shown.is_other


def test_on_another_machine_any_sub_directory_will_do_if_the_size_is_right() -> None:
    listed = folder(ListedFile("deep/cat.safetensors", SIZE), ListedFile("other/cat.safetensors", 5))
    shown = found(listed, directories=())
    assert shown is not None
    assert shown.file.name == "deep/cat.safetensors"
    assert found(folder(ListedFile("other/cat.safetensors", 5)), directories=()) is None
    assert found(folder(ListedFile("deep/cat.safetensors"), has_sizes=False), directories=()) is None


def test_a_link_of_comfyui_s_that_leads_to_the_destination_is_known_by_size_and_time() -> None:
    own, old = ListedFile("mine/cat.safetensors", SIZE, 100.0), ListedFile("old/cat.safetensors", SIZE, 50.0)
    listed = folder(old, own, ListedFile("later/cat.safetensors", SIZE + 1, 100.0))
    shown = found(listed, directories=("/data/trained",), at=100.0)
    assert shown is not None
    assert (shown.file.name, shown.is_other) == ("mine/cat.safetensors", False)
    assert found(folder(old), directories=("/data/trained",), at=100.0) is None
    assert found(listed, directories=("/data/trained",)) is None  # a size alone is also that of another version


def test_a_folder_that_comfyui_does_not_know_holds_nothing() -> None:
    assert found(Folder("ipadapter", None, None)) is None


def missing(*folders: Folder, elsewhere: Shown | None = None, is_any_listed: bool = False) -> str:
    trouble = why_missing(
        "cat.safetensors",
        folders,
        destination="/comfyui/models/loras",
        elsewhere=elsewhere,
        is_any_listed=is_any_listed,
    )
    return f"{trouble.code}: {trouble.reason}; {trouble.fix}"


def test_each_likely_cause_has_its_words() -> None:
    assert "another directory" in missing(folder())
    assert "extra_model_paths.yaml" in missing(folder())
    assert "may not enter" in missing(folder(ListedFile("dog.safetensors")), is_any_listed=True)
    broken = Folder("loras", None, None, error="GET http://x/models/loras: HTTP 500")
    assert missing(broken).startswith("comfyui-error: ")
    login = Folder("loras", None, None, error="GET http://x/models/loras: HTTP 401", fix="let this machine pass")
    assert missing(login).endswith("let this machine pass")
    assert missing(Folder("loras", None, None)).startswith("comfyui-error: what answers at comfyui_url knows no")
    elsewhere = Shown("checkpoints", ListedFile("cat.safetensors"))
    assert "models/checkpoints, where its loader does not look" in missing(folder(), elsewhere=elsewhere)
    assert "knows no models/ipadapter" in missing(Folder("ipadapter", None, None))
