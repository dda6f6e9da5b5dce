"""Is the writer of a file done? One decision, taken again whenever something about the file may have changed.

The intake calls it on its thread with what the source saw and when. Pure: both clocks are handed in. It never
looks at a file, and it never sleeps: it says when to look again.

Three things can vouch for a writer that is done: its close or rename was seen, nobody holds the file open for
writing, or the file has stood still for `quiet_seconds`. Nothing vouches for a file that still has a gap.
"""

from dataclasses import dataclass

from lorawatch.domain.ports import Observation

# A person waits this long for a save at most; after it the intake says once that the file is incomplete.
INCOMPLETE_AFTER_SECONDS = 600.0
# Nobody notices a twentieth of a second, and a look costs far less than that.
_SOONEST_RECHECK_SECONDS = 0.05
# In between: a wait of a tenth of the age so far is late by a tenth at most.
_RECHECK_SHARE_OF_AGE = 0.1
# A writer that never tells when it is done is looked at this often once it is old; its close also sends a hint.
_LATEST_RECHECK_SECONDS = 5.0
# What a crashed trainer left reserved stays for ever: 500 such files, each looked at every 5 s, cost 6 % of a CPU.
_OLD_RECHECK_SHARE_OF_AGE = 0.01
_LATEST_OLD_RECHECK_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Moment:
    """One instant on both clocks. Files carry wall time, which may jump; waiting is done by the monotonic one."""

    wall: float
    monotonic: float


@dataclass(frozen=True, slots=True)
class Ready:
    """The writer is done: inspect the file now."""


@dataclass(frozen=True, slots=True)
class Wait:
    """The writer may still be at work. `is_incomplete`: for so long that a person should know."""

    recheck_in_seconds: float
    code: str
    reason: str
    is_incomplete: bool


@dataclass(frozen=True, slots=True)
class Torn:
    """The writer is done and left what can never be delivered as it is: rejected until it changes."""

    code: str
    reason: str


Verdict = Ready | Wait | Torn


def observe(observation: Observation, *, first_seen: Moment, now: Moment, quiet_seconds: float) -> Verdict:
    """Decide on one version of a file. `first_seen` is when this very version was first seen."""
    age_seconds = max(0.0, now.monotonic - first_seen.monotonic)
    if not observation.candidate.is_closed and observation.is_held_open:
        return _wait(age_seconds, "still-open", "somebody has it open for writing")
    if observation.has_gap:
        return _wait(age_seconds, "unwritten-data", "parts of it have been reserved, but not written yet")
    quiet_left_seconds = quiet_seconds - _quiet_before_seconds(observation, first_seen) - age_seconds
    is_vouched = observation.candidate.is_closed or (observation.is_local and observation.is_held_open is False)
    if observation.flaw is not None:  # a download that shows a web page so far: one verdict when it has ended
        code, reason = observation.flaw.code, observation.flaw.message
        is_done = is_vouched or quiet_left_seconds <= 0
        return Torn(code, reason) if is_done else _wait_until_quiet(quiet_left_seconds, code, reason)
    flaw = _wrong_length(observation)
    if flaw is not None:
        if not is_vouched:
            return _wait(age_seconds, flaw.code, f"{flaw.reason}; nothing vouches that its writer is done")
        return flaw if quiet_left_seconds <= 0 else _wait_until_quiet(quiet_left_seconds, flaw.code, flaw.reason)
    if is_vouched or quiet_left_seconds <= 0:
        return Ready()
    return _wait_until_quiet(quiet_left_seconds, "not-quiet", "it has its full length; waiting for it to stand still")


def _quiet_before_seconds(observation: Observation, first_seen: Moment) -> float:
    """Return how long the file had stood still when it was first seen.

    Times of a local mount are believed, a future one counts as now. They are compared with the wall clock of
    the first look only: what passed since is measured by the monotonic clock, which no adjustment moves.
    """
    if not observation.is_local:
        return 0.0
    candidate = observation.candidate
    changed_at = max(candidate.version.mtime_ns, candidate.ctime_ns) / 1e9
    return max(0.0, first_seen.wall - changed_at)


def _wrong_length(observation: Observation) -> Torn | None:
    size_bytes, expected_bytes = observation.candidate.version.size_bytes, observation.expected_bytes
    if size_bytes == 0:
        return Torn("empty-file", "it has no bytes")
    if expected_bytes is None:
        return Torn("truncated", f"it ends after {size_bytes:,} bytes, within its header")
    if size_bytes < expected_bytes:
        return Torn("truncated", f"it has {size_bytes:,} of the {expected_bytes:,} bytes that its header announces")
    if size_bytes > expected_bytes:
        return Torn("trailing-bytes", f"it has {size_bytes:,} bytes, but its header announces {expected_bytes:,}")
    return None


def _wait(age_seconds: float, code: str, reason: str) -> Wait:
    recheck_seconds = max(
        min(_LATEST_RECHECK_SECONDS, age_seconds * _RECHECK_SHARE_OF_AGE),
        min(_LATEST_OLD_RECHECK_SECONDS, age_seconds * _OLD_RECHECK_SHARE_OF_AGE),
    )
    if age_seconds < INCOMPLETE_AFTER_SECONDS:  # look again when it turns incomplete, not some time after
        recheck_seconds = min(recheck_seconds, INCOMPLETE_AFTER_SECONDS - age_seconds)
    return Wait(
        max(_SOONEST_RECHECK_SECONDS, recheck_seconds),
        code,
        reason,
        is_incomplete=age_seconds >= INCOMPLETE_AFTER_SECONDS,
    )


def _wait_until_quiet(quiet_left_seconds: float, code: str, reason: str) -> Wait:
    return Wait(max(_SOONEST_RECHECK_SECONDS, quiet_left_seconds), code, reason, is_incomplete=False)
