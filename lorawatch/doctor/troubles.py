"""What went wrong already, from the journal: each reason once, with its cure. Pure, but for the question itself."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from lorawatch import humanize
from lorawatch.config import DestinationConfig
from lorawatch.destinations.registry import location_of
from lorawatch.doctor import records
from lorawatch.doctor.findings import Finding, Level, fine, together, warning
from lorawatch.domain.codes import cure_of, words_for
from lorawatch.journal import checkup
from lorawatch.journal.checkup import Trouble

CHECK = "deliveries"
# Accepted with a warning: ComfyUI would show no effect, or the wrong one.
_SILENT = ("zero-effect", "family-conflict", "nonfinite")
_VERBS = {"rejected": "was rejected", "unreadable": "cannot be read", "incomplete": "is not complete"}


def deliveries(destinations: Sequence[DestinationConfig], state_directory: str, user: str) -> Iterator[Finding]:
    """Say which files and deliveries are in trouble, and why. `user`: as whom lorawatch works."""
    found = records.ask(state_directory, checkup.troubles)
    if found is None:
        return
    words = {each.name: {**_words(each), "USER": user} for each in destinations}
    for trouble in found:
        yield _finding(trouble, words.get(trouble.destination, {"USER": user}))
    if not found:
        yield fine(CHECK, "none has failed, none waits for anything, no file was rejected")


def effects(state_directory: str) -> Iterator[Finding]:
    """Say which delivered LoRAs will do nothing, or are for which base model: a wrong one is ignored without a word."""
    check = "lora-effect"
    found = []
    for code in _SILENT:
        count, path = records.ask(state_directory, partial(checkup.with_finding, code=code)) or (0, "")
        if count:
            found.append((code, count, path))
    for code, count, path in found:
        more = f" and {count - 1:,} more" if count > 1 else ""
        fix = together([f"lorawatch check {shlex.quote(path)}", cure_of(code)])
        yield warning(check, f"{path}{more} was accepted, but: {code}", fix=fix, code=code)
    families = records.ask(state_directory, checkup.families)
    if families and not found:
        named = ", ".join(f"{family or 'unknown'} ({count:,})" for family, count in families[:6])
        yield fine(check, f"delivered so far, by base model: {named}; with another one they have no effect")


def parked(destinations: Sequence[DestinationConfig], state_directory: str) -> Iterator[Finding]:
    """Say which destinations wait for a person's word."""
    for each in destinations:
        question = partial(checkup.parked, name=each.name, location=location_of(each))
        answer = records.ask(state_directory, question)
        if answer is not None:
            code, reason = answer
            words = {"<NAME>": each.name.replace("-", "_").upper()}
            fix = together(["once it works again: lorawatch retry --all", cure_of(code, words)])
            yield warning(
                "destination-parked", f"nothing is sent to it any more: {reason}", fix=fix, subject=each.name, code=code
            )


def _words(destination: DestinationConfig) -> dict[str, str]:
    """Return what stands for the placeholders of the codes."""
    given = {"DIRECTORY": "directory", "URL": "url", "CONTAINER": "container"}
    found = {word: getattr(destination, key, "") for word, key in given.items()}
    return {word: shlex.quote(value) for word, value in found.items() if value}


def _finding(trouble: Trouble, about: Mapping[str, str]) -> Finding:
    words = {**words_for(trouble.path), **about, "ID": "--all"}
    if trouble.what != "file":
        del words["NAME"]
    if trouble.what == "file":
        what = f"{trouble.path} {_VERBS[trouble.state]}"
        what += f" (and {trouble.count - 1:,} more)" if trouble.count > 1 else ""
        again = ""
    else:
        verb = "failed" if trouble.state == "failed" else "wait" if trouble.count > 1 else "waits"
        count = humanize.count(trouble.count, "delivery")
        what = f"{count} to {trouble.destination} {verb}, such as {trouble.path}"
        again = "then: lorawatch retry --all" if trouble.state == "failed" else ""
    level = Level.ERROR if trouble.state in {"failed", "unreadable"} else Level.WARNING
    fix = together([cure_of(trouble.code, words), again])
    return Finding(CHECK, level, f"{what}: {trouble.reason or trouble.code}", fix, trouble.destination, trouble.code)
