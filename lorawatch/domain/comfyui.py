"""What ComfyUI says about itself, in this house's words: files, queue, pictures. Pure; imported by everybody."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file as ComfyUI's list shows it. `name` is relative to the folder, with / on every system."""

    name: str
    size_bytes: int | None = None  # None: this ComfyUI does not tell
    modified_at: float | None = None


@dataclass(frozen=True, slots=True)
class Queue:
    """How many graphs ComfyUI is computing, and how many wait."""

    running: int
    pending: int

    @property
    def is_empty(self) -> bool:
        """Return whether nothing runs and nothing waits."""
        return not self.running and not self.pending


@dataclass(frozen=True, slots=True)
class NodeError:
    """One thing that ComfyUI does not accept about a node. Match on `type` and `input_name`: the words change."""

    node_id: str
    class_type: str
    type: str  # value_not_in_list, required_input_missing, …
    message: str
    input_name: str = ""
    received: str = ""


@dataclass(frozen=True, slots=True)
class Prompted:
    """What became of a graph that was sent: an id, or why it was refused."""

    prompt_id: str | None
    type: str = ""  # prompt_outputs_failed_validation, invalid_prompt, prompt_no_outputs, …
    message: str = ""
    node_errors: tuple[NodeError, ...] = ()


@dataclass(frozen=True, slots=True)
class Image:
    """A file that ComfyUI made, as its /view names it."""

    filename: str
    subfolder: str
    folder: str  # output, temp


@dataclass(frozen=True, slots=True)
class History:
    """A graph that has ended. `reason` is ComfyUI's own, where it failed."""

    is_success: bool
    images: tuple[Image, ...]
    reason: str = ""


@dataclass(frozen=True, slots=True)
class System:
    """What runs there."""

    version: str  # "": it does not tell
    devices: tuple[str, ...] = ()
