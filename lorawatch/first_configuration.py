"""The text of a first configuration, with its comments. Pure; `init` and `service install` write it."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

NEWEST_KEPT = "4"  # AI Toolkit's own default for the step checkpoints that it keeps


@dataclass(frozen=True, slots=True)
class Destination:
    """One `[[destinations]]` table. `keys`: the keys besides name, kind and enabled. `why`: how it was found."""

    name: str
    kind: str
    keys: tuple[tuple[str, str | int], ...]
    why: str = ""
    is_enabled: bool = True


@dataclass(frozen=True, slots=True)
class Source:
    """One `[[sources]]` table."""

    name: str
    url: str
    is_enabled: bool


@dataclass(frozen=True, slots=True)
class First:
    """What a first configuration holds. A guess: nothing was found, so a person has to fill it in."""

    watch: Sequence[str]
    destinations: Sequence[Destination]
    sources: Sequence[Source] = ()
    state_line: str = ""
    reasons: Sequence[str] = ()  # one line for each watched directory: how it was found
    is_watch_guess: bool = False
    is_destination_guess: bool = False
    is_service: bool = False  # it lies where the service reads it

    @property
    def is_guess(self) -> bool:
        """Return whether a person has to edit it before it is of use."""
        return self.is_watch_guess or self.is_destination_guess


def text_of(first: First) -> str:
    """Return the TOML text."""
    return "\n".join(_lines(first)) + "\n"


def directory(name: str, path: str, *, comfyui_url: str = "", why: str = "", is_enabled: bool = True) -> Destination:
    """Return a destination that is a directory of this machine."""
    keys = (("directory", path), ("name_template", "{file_name}"), ("comfyui_url", comfyui_url))
    return Destination(name, "directory", keys, why, is_enabled)


_HINTS = {
    "name_template": 'or "{family}/{file_name}", "{job}/{file_name}", …',
    "comfyui_url": 'for example "http://127.0.0.1:8188": also check that ComfyUI lists them',
    "url": "a token for it: $LORAWATCH_TOKEN_<NAME>, better than a key here",
    "min_free_bytes": "deliveries wait when the disk has less; the default, 5000000000, is more than it has now",
}
_WIDTH = 34  # where comments begin


def _lines(first: First) -> Iterator[str]:
    yield "# lorawatch: what is watched, and where finished LoRAs go. Every key there is, with its default, is in"
    yield "# config.example.toml (`lorawatch docs config.example.toml`). After a change: `lorawatch doctor`, then"
    if first.is_service:
        yield "# `sudo systemctl reload lorawatch`; after a new directory `sudo lorawatch service install`, which"
        yield "# also gives the service access to it."
    else:
        yield "# send SIGHUP to a running lorawatch, or start it: `lorawatch run`."
    if first.is_guess:
        yield "#"
        yield "# EDIT ME: not everything was found on this machine. The lines marked with EDIT are guesses."
    if first.state_line:
        yield first.state_line
    yield ""
    yield "[watch]"
    yield from (_remark(reason) for reason in first.reasons)
    yield _key("directories", [*first.watch], "EDIT: where AI Toolkit writes" if first.is_watch_guess else "")
    yield _key("checkpoints", "all", f'or "final", or "latest:{NEWEST_KEPT}": which step checkpoints are wanted')
    for destination in first.destinations:
        yield from _destination(destination, is_guess=first.is_destination_guess)
    for source in first.sources:
        yield ""
        yield "# AI Toolkit's own API: models are fetched from it. For an AI Toolkit whose disk is out of reach."
        yield from ("[[sources]]", _key("name", source.name), _key("kind", "aitoolkit-mcp"), _key("url", source.url))
        yield _key("enabled", source.is_enabled, "" if source.is_enabled else _not_needed("AI Toolkit"))


def _destination(destination: Destination, *, is_guess: bool) -> Iterator[str]:
    yield ""
    if destination.why:
        yield _remark(destination.why)
    yield "[[destinations]]"
    yield _key("name", destination.name)
    yield _key("kind", destination.kind)
    for key, value in destination.keys:
        is_edited = is_guess and key == "directory"
        yield _key(key, value, "EDIT: where ComfyUI reads its LoRAs" if is_edited else _HINTS.get(key, ""))
    if not destination.is_enabled:
        is_other_way = destination.kind != "directory"
        yield _key(
            "enabled", value=False, comment=_not_needed("ComfyUI") if is_other_way else "true: deliver there too"
        )


def _not_needed(what: str) -> str:
    return f"not needed while the directory of {what} is within reach"


def _remark(text: str) -> str:
    """Return a line of comment; a path may hold what would end it, or what TOML forbids in it."""
    return "# " + "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text)


def _key(name: str, value: object, comment: str = "") -> str:
    """Return one line. JSON's texts, numbers and lists are TOML's too, but for DEL, which TOML wants escaped."""
    line = f"{name} = {json.dumps(value, ensure_ascii=False)}".replace("\x7f", "\\u007f")
    return f"{line:<{_WIDTH}} # {comment}" if comment else line
