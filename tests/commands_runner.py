"""Run many commands for the price of one start: `python commands_runner.py`, with their words as JSON on stdin.

Each runs in a process of its own, forked from this one, and its exit code and what it wrote is told as JSON on stdout.
"""

import json
import os
import signal
import sys
import tempfile

PATIENCE_SECONDS = 60


def run(words: list[str]) -> dict[str, object]:
    """Run one command to its end."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            _become(words, out.fileno(), err.fileno())
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        return {"exit_code": code, "stdout": _text(out.fileno()), "stderr": _text(err.fileno())}


def _become(words: list[str], out: int, err: int) -> None:
    signal.alarm(PATIENCE_SECONDS)
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.argv = ["lorawatch", *words]
    from lorawatch.cli import main

    code = 0
    try:
        main()
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else 1 if ending.code else 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _text(descriptor: int) -> str:
    return os.pread(descriptor, 1 << 24, 0).decode("utf-8", "surrogateescape")


if __name__ == "__main__":
    # Loaded once, for all that are forked.
    import lorawatch.app
    import lorawatch.cli.program
    import lorawatch.daemon
    import lorawatch.status_plain  # noqa: F401

    results = [run(words) for words in json.load(sys.stdin)]
    json.dump(results, sys.stdout)
