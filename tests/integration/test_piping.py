"""Other programs with a stream: what they are given, what they leave, and that none of them outlives its call."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from lorawatch.domain.errors import StoppedError
from lorawatch.transport import holding
from lorawatch.transport.piping import Patience, feed, stream
from lorawatch.transport.process import NOT_FOUND, TIMED_OUT
from tests.contract.bench import StopAfter

NEVER = threading.Event()
BLOCK = bytes(range(256)) * 4096


def blocks(count: int) -> Iterator[memoryview]:
    for _ in range(count):
        yield memoryview(BLOCK)


def test_all_blocks_arrive_and_what_it_says_is_kept() -> None:
    finished = feed(["sh", "-c", "wc -c; echo words >&2; exit 3"], blocks(40), stop=NEVER)
    assert (finished.exit_code, finished.stdout.strip(), finished.stderr) == (3, str(40 * len(BLOCK)), "words\n")


def test_both_ways_at_once_nothing_jams() -> None:
    received = sum(map(len, stream(["cat"], blocks(40), stop=NEVER)))
    assert received == 40 * len(BLOCK)


def test_a_program_that_ends_early_is_given_no_more() -> None:
    given = []

    def counted() -> Iterator[memoryview]:
        for number, block in enumerate(blocks(1000)):
            given.append(number)
            yield block

    finished = feed(["sh", "-c", "exit 7"], counted(), stop=NEVER)
    assert finished.exit_code == 7
    assert len(given) < 1000


def test_a_program_that_is_not_there_is_an_exit_code() -> None:
    finished = feed(["/nonexistent/docker"], blocks(1), stop=NEVER)
    assert finished.exit_code == NOT_FOUND
    assert "not installed" in finished.stderr


def test_a_stop_ends_the_program(tmp_path: os.PathLike[str]) -> None:
    pid_file = os.path.join(tmp_path, "pid")
    with pytest.raises(StoppedError):
        feed(["sh", "-c", f"echo $$ > {pid_file}; exec cat >/dev/null"], endless(pid_file), stop=StopAfter(500))
    with open(pid_file) as file:
        assert not os.path.exists(f"/proc/{file.read().strip()}")


def endless(pid_file: str) -> Iterator[memoryview]:
    while True:
        yield from blocks(1)


def test_an_error_of_the_blocks_ends_the_program_and_is_raised() -> None:
    def failing() -> Iterator[memoryview]:
        yield from blocks(1)
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        feed(["cat"], failing(), stop=NEVER)


def test_a_program_that_stays_silent_for_too_long_is_ended_and_somebody_hears_the_waiting() -> None:
    beats = []
    finished = feed(["sleep", "1000"], [], stop=NEVER, patience=Patience(0.5, lambda: beats.append(1)))
    assert finished.exit_code == TIMED_OUT
    assert beats


def test_words_are_kept_to_their_end_and_a_reader_may_leave_early() -> None:
    pieces = stream(["sh", "-c", "yes"], stop=NEVER)
    assert next(pieces).startswith(b"y\n")
    pieces.close()
    finished = feed(["sh", "-c", "yes | head -c 1000000 >&2; printf '\\377last' >&2"], [], stop=NEVER)
    assert finished.stderr.endswith("\\xfflast")
    assert len(finished.stderr) < 100_000


def test_a_name_is_held_by_one_and_seen_by_other_processes_until_the_holder_dies() -> None:
    assert holding.hold("a name")
    assert not holding.hold("a name")
    assert ask_elsewhere("is_held") == "True"
    assert ask_elsewhere("hold") == "False"
    holding.release("a name")
    holding.release("a name")
    assert not holding.is_held("a name")
    assert ask_elsewhere("hold") == "True"
    assert not holding.is_held("a name"), "it went with its process"


def ask_elsewhere(question: str) -> str:
    program = f"from lorawatch.transport import holding; print(holding.{question}('a name'))"
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.strip()
