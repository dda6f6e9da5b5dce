"""What ComfyUI's list says about a delivered file, and what is probably wrong if it is not there.

Pure; used by the engine's ComfyUI threads. ComfyUI lists paths relative to its models folder, while a destination may
be a sub-directory of that folder, or of another than one thinks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lorawatch.domain.comfyui import ListedFile
from lorawatch.domain.model import RemoteFile

# In which of ComfyUI's folders (folder_paths.py) a file of each kind is looked for. What is missing here, such as a
# critic, ComfyUI has no loader for.
FOLDERS_OF_KIND: Mapping[str, tuple[str, ...]] = {
    "lora": ("loras",),
    "embedding": ("embeddings",),
    "controlnet": ("controlnet",),
    "t2i-adapter": ("controlnet",),
    "ip-adapter": ("ipadapter",),
    "vae": ("vae",),
    "text-encoder": ("text_encoders", "clip"),
    "model": ("diffusion_models", "checkpoints", "unet"),
}
# Kinds that no loader of ComfyUI reads.
UNREAD_KINDS = frozenset({"critic", "latent-cache"})
# Where a file of an unknown kind may be, and where else any other may have landed, to be able to say so.
OTHER_FOLDERS = ("loras", "checkpoints", "diffusion_models", "embeddings", "controlnet", "vae", "text_encoders")
# FAT keeps times to two seconds; other file systems are finer.
TIME_TOLERANCE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Shown:
    """A file in ComfyUI's list. `is_other`: it is surely not the delivered one, for `difference`."""

    folder: str
    file: ListedFile
    is_other: bool = False
    difference: str = ""


@dataclass(frozen=True, slots=True)
class Folder:
    """What ComfyUI said about one folder. `names` is None if it does not know it; `error` if it could not list it."""

    name: str
    names: frozenset[str] | None
    files: Mapping[str, Sequence[ListedFile]] | None  # by name; None: this ComfyUI tells no sizes
    error: str = ""
    fix: str = ""  # what to do about the error
    below: Mapping[str, Sequence[str]] = field(
        init=False, repr=False
    )  # the names in sub-directories by their last part

    def __post_init__(self) -> None:
        below: dict[str, list[str]] = {}
        for name in sorted(self.files or ()):
            if "/" in name:
                below.setdefault(name.rpartition("/")[2], []).append(name)
        object.__setattr__(self, "below", below)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a delivered file is not to be had in ComfyUI: the likely cause, in words."""

    code: str
    reason: str
    fix: str = ""


def possible_names(remote_name: str, directories: Sequence[str]) -> list[str]:
    """Return the names under which ComfyUI may list a file, the most specific first.

    In /models/loras/mine it is mine/cat.safetensors, unless a model path of ComfyUI's leads there.
    """
    found: dict[str, None] = {}
    for directory in directories:
        name, names = remote_name, []
        for part in reversed([part for part in directory.split("/") if part]):
            name = f"{part}/{name}"
            names.append(name)
        found |= dict.fromkeys(reversed(names))
    return [*found, remote_name]


def find_in(
    folder: Folder, remote_name: str, *, directories: Sequence[str], size_bytes: int, there: RemoteFile | None
) -> Shown | None:
    """Return how the folder's list shows a delivered file; None if it does not.

    `directories` is where the destination is, by every name that is known; none, if it is on another machine.
    `there` is what stands at the name, where its time means the same to ComfyUI.
    """
    if folder.names is None:
        return None
    names = [name for name in possible_names(remote_name, directories) if name in folder.names]
    if not names:
        names = _names_below(folder, remote_name, size_bytes=size_bytes, there=there, is_here=bool(directories))
    shown = [_compared(folder, name, size_bytes=size_bytes, there=there) for name in names]
    return next((each for each in shown if not each.is_other), shown[0] if shown else None)


def _names_below(
    folder: Folder, remote_name: str, *, size_bytes: int, there: RemoteFile | None, is_here: bool
) -> list[str]:
    """Return the names in other sub-directories that are surely the delivered file's.

    On another machine only the server knows which directory it fills: one with the right size will do. Here a link of
    ComfyUI's may lead to the destination; then the time is the same too, which tells it from another version's.
    """
    at = None if there is None else there.modified_at
    return [
        name
        for name in folder.below.get(remote_name.rpartition("/")[2], ())
        if name.endswith(f"/{remote_name}")
        and any(
            file.size_bytes == size_bytes and (not is_here or _is_near(file.modified_at, at))
            for file in (folder.files or {})[name]
        )
    ]


def _compared(folder: Folder, name: str, *, size_bytes: int, there: RemoteFile | None) -> Shown:
    """Compare the file that stands at a listed name with the delivered one. The first of several paths counts."""
    files = (folder.files or {}).get(name)
    if not files:
        return Shown(folder.name, ListedFile(name))
    file = files[0]
    if file.size_bytes not in {None, size_bytes}:
        return Shown(folder.name, file, is_other=True, difference=f"with {file.size_bytes} bytes, not {size_bytes}")
    written_at = None if there is None else there.modified_at
    if written_at is not None and file.modified_at is not None and not _is_near(file.modified_at, written_at):
        what = "an older" if written_at > file.modified_at else "a later"
        return Shown(folder.name, file, is_other=True, difference=f"as {what} file of the same size")
    return Shown(folder.name, file)


def _is_near(told_at: float | None, at: float | None) -> bool:
    return told_at is not None and at is not None and abs(told_at - at) <= TIME_TOLERANCE_SECONDS


def why_missing(
    remote_name: str, folders: Sequence[Folder], *, destination: str, elsewhere: Shown | None, is_any_listed: bool
) -> Trouble:
    """Return why a delivered file is probably not in ComfyUI's list.

    `destination` is the directory in words; `is_any_listed`: ComfyUI lists something else that was delivered there.
    """
    wanted = " or ".join(f"models/{folder.name}" for folder in folders)
    broken = next((folder for folder in folders if folder.error), None)
    if broken is not None:
        return Trouble(
            "comfyui-error",
            f"ComfyUI cannot list {wanted}: {broken.error}",
            broken.fix or "see whether that directory exists and ComfyUI's user may read it",
        )
    if all(folder.names is None for folder in folders):
        if any(folder.name in OTHER_FOLDERS for folder in folders):
            return Trouble(
                "comfyui-error",
                f"what answers at comfyui_url knows no {wanted}, which every ComfyUI has",
                "check that comfyui_url leads to ComfyUI itself, with the path if it is behind one:"
                " `curl URL/system_stats` must show its version",
            )
        return Trouble(
            "comfyui-not-listed",
            f"this ComfyUI knows no {wanted}: the nodes that use it are not installed",
            "install them, or leave this kind of file out with kinds",
        )
    if elsewhere is not None:
        return Trouble(
            "comfyui-not-listed",
            f"ComfyUI lists {remote_name!r} in models/{elsewhere.folder}, where its loader does not look",
            f"deliver this kind of file to {wanted}",
        )
    count = sum(len(folder.names or ()) for folder in folders)
    if not is_any_listed:
        return Trouble(
            "comfyui-not-listed",
            f"ComfyUI does not list {remote_name!r}, nor anything else from {destination}; it has {count} in {wanted}:"
            " most likely it looks in another directory",
            "compare the destination with ComfyUI's models directory and its extra_model_paths.yaml",
        )
    return Trouble(
        "comfyui-not-listed",
        f"ComfyUI does not list {remote_name!r}, but other files from {destination}: most likely its user may not"
        " enter the file's directory, or its list is old",
        "compare the permissions of the directories; restarting ComfyUI renews its list",
    )


def why_other(remote_name: str, shown: Shown) -> Trouble:
    """Return why ComfyUI shows another file at the name than the delivered one."""
    return Trouble(
        "comfyui-other-file",
        f"ComfyUI lists {remote_name!r} {shown.difference}: it finds another file of this name first, or its list is"
        " old",
        "look for the name in every directory of ComfyUI's extra_model_paths.yaml; restarting ComfyUI renews its list",
    )


def why_unreadable(remote_name: str, shown: Shown) -> Trouble:
    """Return why ComfyUI lists a file and fails to read it."""
    return Trouble(
        "comfyui-unreadable",
        f"ComfyUI lists {remote_name!r} in models/{shown.folder}, but cannot read it: most likely its user may not",
        'set file_mode to "0664" or "0644", or let ComfyUI\'s user into the group of the file',
    )
