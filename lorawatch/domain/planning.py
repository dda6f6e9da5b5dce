"""Which artifact goes where, and under which name.

Called by intake when a verdict is recorded and by the lanes just before the bytes are carried. Pure: what stands
at a destination and who owns a name is handed in. It never asks a destination by itself, except through the
`digest` callback of `resolve`, and only when the answer depends on it.
"""

import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache

from lorawatch.domain.errors import DeliveryRefusedError
from lorawatch.domain.model import Artifact, Facts, Placement, RemoteFile

MODEL_EXTENSION = ".safetensors"
# What ComfyUI lists: a template that ends with one of these gives its names no other one.
MODEL_EXTENSIONS = frozenset({".safetensors", ".sft", ".ckpt", ".pt", ".pt2", ".bin", ".pth", ".pkl"})
PLACEHOLDERS = ("file_name", "stem", "job", "family", "step", "trigger", "rank", "sha8")
EMPTY = {"step": "final", "family": "unsorted"}
PART_BYTES = 255  # of one part of a path on Linux (NAME_MAX); NTFS and FAT count UTF-16 units, which are never more
VALUE_BYTES = 120  # of one value from inside a file, so that two of them fit into one part

# Wan 2.2 saves a pair whose halves end alike at every step: the step stands before that ending.
# More than 18 digits are no step, and no number that the journal could hold.
_STEP = re.compile(r"(?P<series>.*)_(?P<step>[0-9]{1,18})(?P<half>_(?:high|low)_noise)?", re.DOTALL)
# Lone surrogates, which JSON can spell, except those that stand for the undecodable bytes of a path.
_UNSAFE = re.compile(r"[\x00-\x1f\x7f/\\:*?\"<>|\ud800-\udc7f\udd00-\udfff]+")
_PLACEHOLDER = re.compile(r"\{(" + "|".join(PLACEHOLDERS) + r")\}")


def step_of(path: str) -> int | None:
    """Return the training step in a file's name (`cat_000000250.safetensors` → 250); None for a final file."""
    match = _step_match(_stem(path))
    return int(match["step"]) if match else None


def series_of(path: str) -> str:
    """Return what the step checkpoints and the final file of one training run have in common."""
    match = _step_match(_stem(path))
    series = match["series"] + (match["half"] or "") if match else _stem(path)
    return os.path.join(os.path.dirname(path), series)


def job_of(path: str, root: str) -> str:
    """Return the training run's name: the file's folder, or its stem without a step when it lies in the root."""
    folder = os.path.dirname(path)
    return os.path.basename(series_of(path) if folder == root else folder)


@dataclass(frozen=True, slots=True)
class CheckpointPolicy:
    """`all`, `final`, or `latest:N` (then `latest` is N). Final files are always wanted."""

    wants_steps: bool = True
    latest: int | None = None

    @classmethod
    def parse(cls, text: str) -> "CheckpointPolicy":
        """Parse the configuration's value; ValueError for anything else."""
        if text in {"all", "final"}:
            return cls(wants_steps=text == "all")
        kind, _, count = text.partition(":")
        if kind != "latest" or not count.isdecimal() or int(count) < 1:
            msg = f"{text!r} is none of all, final, latest:N"
            raise ValueError(msg)
        return cls(latest=int(count))

    def refusal(self, step: int | None) -> tuple[str, str] | None:
        """Return (code, reason) for a step that is not wanted whatever others there are."""
        if step is None or self.wants_steps:
            return None
        code, wish = "checkpoint-not-wanted", 'checkpoints = "final" wants the finished LoRA only'
        return code, f"it is the checkpoint of step {step}, and {wish}"


def surplus_steps(steps: Iterable[int], policy: CheckpointPolicy) -> frozenset[int]:
    """Return the steps of one series that `latest:N` does not want."""
    if policy.latest is None:
        return frozenset()
    return frozenset(sorted(set(steps), reverse=True)[policy.latest :])


def base_name_of(template: str, *, path: str, root: str, sha256: str, facts: Facts) -> str:
    """Render a name template. Raises DeliveryRefusedError (name-refused) for a name that may not be used."""
    file_name = os.path.basename(path)
    step = step_of(path)
    values = {
        "file_name": file_name,
        "stem": _stem(path),
        "job": _safe(job_of(path, root)),
        "family": _safe(facts.family or ""),
        "step": "" if step is None else str(step),
        "trigger": _safe(facts.trigger_words[0]) if facts.trigger_words else "",
        "rank": "" if facts.rank is None else str(facts.rank),
        "sha8": sha256[:8],
    }
    name = _PLACEHOLDER.sub(lambda match: values[match[1]] or EMPTY.get(match[1], "none"), template)
    # Only the template may say it: a value that a file brings along must not turn a model into a pickle.
    says_extension = os.path.splitext(template)[1].lower() in MODEL_EXTENSIONS
    extension = os.path.splitext(file_name)[1]
    if says_extension or (extension and template.endswith("{file_name}")):
        name, extension = os.path.splitext(name)
    name = _fitted(name, extension or MODEL_EXTENSION)
    refuse_unsafe_name(name)
    return name


def refuse_unsafe_name(name: str) -> None:
    """Raise DeliveryRefusedError (name-refused) for an absolute, escaping, hidden or empty name."""
    parts = name.split("/")
    wrong = None
    if name.startswith("/"):
        wrong = "is absolute"
    elif "\0" in name:
        wrong = "holds a NUL byte"
    elif any(part in {"", ".", ".."} for part in parts):
        wrong = "holds an empty, '.' or '..' part"
    elif parts[-1].startswith("."):
        wrong = "is hidden: ComfyUI's users would never find it"
    if wrong:
        msg = f"the name {name!r} {wrong}"
        fix = "change name_template, or give a name with --as"
        raise DeliveryRefusedError(msg, code="name-refused", fix=fix)


@dataclass(frozen=True, slots=True)
class NameChoice:
    """The name a path gets at a destination. `taken_by` is the other path when the wanted name was taken."""

    remote_name: str
    taken_by: str | None = None


def choose_name(
    base_name: str, *, path: str, sha256: str, kept: str | None, owner_of: Callable[[str], Placement | None]
) -> NameChoice:
    """Choose the name for a path. `kept` is the one it was given before for this base name; it keeps it.

    Two paths never share a name, unless their bytes are the same: then there is nothing to carry.
    """
    if kept is not None:
        return NameChoice(kept)
    owner = owner_of(base_name)
    if owner is None or owner.path == path or owner.sha256 == sha256:
        return NameChoice(base_name)
    return NameChoice(numbered_name(base_name, path=path, sha256=sha256, owner_of=owner_of), owner.path)


def numbered_name(
    base_name: str, *, path: str, sha256: str, owner_of: Callable[[str], Placement | None], skip: int = 0
) -> str:
    """Return `<stem>-<sha8>.<ext>`, with more digits while another path owns that too; `skip` drops the first."""
    stem, extension = os.path.splitext(base_name)
    names = [_fitted(stem, f"-{sha256[:digits]}{extension}") for digits in (8, 12, 16, 32, 64)][skip:]
    for name in names:
        owner = owner_of(name)
        if owner is None or owner.path == path or owner.sha256 == sha256:
            return name
    msg = f"every name made of {base_name!r} and its hash is taken"
    raise DeliveryRefusedError(msg, code="name-taken", fix="rename the file, or change name_template")


class Resolution(Enum):
    """What to do about what stands at the name just before carrying."""

    CREATE = auto()
    REPLACE = auto()
    ALREADY_THERE = auto()
    KEEP_BOTH = auto()
    SKIP = auto()


def resolve(
    there: RemoteFile | None,
    *,
    artifact: Artifact,
    placement: Placement | None,
    was_sent: Callable[[str], bool],
    digest: Callable[[], str | None],
    on_conflict: str,
) -> Resolution:
    """Decide about what stands at the name now.

    `placement` is what the journal last put at this name; `was_sent(sha256)` whether these bytes were ever sent
    to this name for this path; `digest()` reads back what stands there and is called only if nothing else tells.
    """
    if there is None:
        return Resolution.CREATE
    is_untouched = placement is not None and placement.fingerprint == there.fingerprint
    known = placement.sha256 if placement is not None and is_untouched and there.is_distinct else None
    if known is None and not there.is_link:
        known = there.sha256 or digest()
    if known == artifact.sha256:
        return Resolution.ALREADY_THERE
    is_own_path = placement is not None and placement.path == artifact.path
    if not there.is_distinct and placement is not None and known not in {None, placement.sha256}:
        is_untouched = False  # the fingerprint is the same, the bytes are not
    if is_own_path and (is_untouched or there.is_leftover or (known is not None and was_sent(known))):
        return Resolution.REPLACE
    if is_untouched:
        return Resolution.KEEP_BOTH  # lorawatch put it there for another path: on_conflict is not about that
    return {
        "overwrite": Resolution.KEEP_BOTH if there.is_directory else Resolution.REPLACE,
        "skip": Resolution.SKIP,
        "keep-both": Resolution.KEEP_BOTH,
    }[on_conflict]


@lru_cache(maxsize=1024)  # asked several times for each file
def _step_match(stem: str) -> re.Match[str] | None:
    return _STEP.fullmatch(stem)


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0]


def _safe(value: str) -> str:
    """Make a value from a file usable as one part of a path."""
    return _cut(_UNSAFE.sub("_", value).strip(" ."), VALUE_BYTES)


def _fitted(stem: str, ending: str) -> str:
    """Put a stem, which may contain /, before an ending that stays whole; cut what no file system takes."""
    *folders, last = stem.split("/")
    last_bytes = max(1, PART_BYTES - len(os.fsencode(ending)))
    return "/".join([*(_cut(folder, PART_BYTES) for folder in folders), _cut(last, last_bytes) + ending])


def _cut(text: str, most_bytes: int) -> str:
    """Return as many whole characters of the text as fit."""
    text = text[:most_bytes]  # none takes less than a byte
    while len(os.fsencode(text)) > most_bytes:
        text = text[:-1]
    return text
