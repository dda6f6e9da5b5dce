"""Run the checks side by side, each on a thread of its own and none for longer than its time.

What hangs, a dead network disk or a silent server, is itself a finding. The threads are daemons: one that never comes
back does not keep the program from ending.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import TypeVar

from lorawatch.doctor.findings import Finding, error
from lorawatch.domain.errors import LorawatchError

CHECK_SECONDS = 20.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Check:
    """One check. `look` may block, and returns one finding or several."""

    name: str
    look: Callable[[], Iterable[Finding]]
    subject: str = ""


def run(checks: Sequence[Check], *, seconds: float = CHECK_SECONDS) -> Iterator[Finding]:
    """Yield the findings in the order of the checks, as soon as those before them are there. Never raises."""
    started = [(check, _start(check)) for check in checks]
    deadline = time.monotonic() + seconds
    for check, answer in started:
        try:
            yield from answer.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            yield error(
                check.name,
                f"did not come back within {seconds:.0f} s: a disk or a server does not answer",
                fix="see what hangs: ps -eo pid,stat,wchan:30,cmd | grep ' D'",
                subject=check.subject,
                code="io-stuck",
            )


def within(seconds: float, question: Callable[[], T]) -> T | None:
    """Return the answer to a question that may hang; None if it has not come in time. Raises what the question does."""
    future: Future[T] = Future()

    def answer() -> None:
        try:
            future.set_result(question())
        except BaseException as raised:  # noqa: BLE001  it is raised where the answer is waited for
            future.set_exception(raised)

    threading.Thread(target=answer, name="question", daemon=True).start()
    done, _ = wait([future], timeout=seconds)
    return future.result() if done else None


def _start(check: Check) -> "queue.SimpleQueue[list[Finding]]":
    answer: queue.SimpleQueue[list[Finding]] = queue.SimpleQueue()
    threading.Thread(target=lambda: answer.put(_looked(check)), name=f"check-{check.name}", daemon=True).start()
    return answer


def _looked(check: Check) -> list[Finding]:
    try:
        return list(check.look())
    except LorawatchError as raised:
        return [error(check.name, raised.message, fix=raised.fix, subject=check.subject, code=raised.code)]
    except Exception as raised:  # noqa: BLE001  one check that fails is a finding, and the others go on
        detail = f"could not be checked: {type(raised).__name__}: {raised}"
        return [
            error(
                check.name,
                detail,
                fix="if the words do not help: lorawatch doctor --debug",
                subject=check.subject,
                code="internal-error",
            )
        ]
