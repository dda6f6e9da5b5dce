"""The command line: words in, words and an exit code out. Nothing else happens here.

Every command imports what it needs when it runs, so that `lorawatch --help` is quick.
"""

import gc
import os
import sys
from typing import TextIO

EXIT_INTERNAL = 1
EXIT_ATTENTION = 3
EXIT_ALREADY_RUNNING = 4
EXIT_CONFIGURATION = 78
EXIT_INTERRUPTED = 130  # as shells say it of Ctrl-C

# Python looks for garbage after every 700 new objects, and a start makes some 100,000 that stay: a hundred searches in
# vain, a twentieth of the time of a start (measured).
_GARBAGE_THRESHOLD = 50_000
# What else is installed has no say in how the configuration is read; to look for it takes a thirtieth (measured). No
# child that inherits this uses pydantic, but ourselves.
_NO_PYDANTIC_PLUGINS = ("PYDANTIC_DISABLE_PLUGINS", "__all__")


def main() -> None:
    """Run the command line; the entry point of the package."""
    gc.set_threshold(_GARBAGE_THRESHOLD)
    os.environ.setdefault(*_NO_PYDANTIC_PLUGINS)
    _replace_closed_streams()
    # Read now: an error may come before any option has been parsed.
    is_debug = "--debug" in sys.argv or bool(os.environ.get("LORAWATCH_DEBUG"))
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        from lorawatch.cli.program import program

        program(arguments, prog_name="lorawatch")
    except SystemExit as ending:
        if isinstance(ending.__context__, BrokenPipeError):  # typer has made it 1
            _end_of_pipe()
        if type(ending.__context__).__name__ == "Abort":  # so has it made Ctrl-C
            sys.exit(EXIT_INTERRUPTED)
        raise
    except BrokenPipeError:
        _end_of_pipe()
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except Exception as error:
        if is_debug:
            raise
        sys.exit(_words(error))


def _end_of_pipe() -> None:
    """End well: whoever read our output has seen enough."""
    _silence(sys.stdout)
    sys.exit(0)


def _replace_closed_streams() -> None:
    """Write nowhere where the caller has closed stdout or stderr (`>&-`), and let no other file get their numbers."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 as long as the process
        # Whatever a file or an answer is called: it is shown with escapes where the stream has no such character.
        getattr(sys, name).reconfigure(errors=_errors_for(getattr(sys, name)))


def _errors_for(stream: TextIO) -> str:
    """Return what a stream does with what it cannot show; most can show all but broken names."""
    if stream.encoding.lower() == "utf-8":
        return "backslashreplace"
    from lorawatch.terminal import PLAINLY

    return PLAINLY


def _silence(stream: TextIO) -> None:
    """Replace the descriptor: what is still buffered would fail once more at the exit, and change its code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _words(error: Exception) -> int:
    """Say what went wrong on stderr; return the exit code."""
    from lorawatch.domain.errors import AlreadyRunningError, ConfigurationError, LorawatchError

    if isinstance(error, OSError):
        _silence(sys.stdout)  # it may be what cannot be written
        what = (
            f"{error.filename} cannot be used" if error.filename else "the output or a file cannot be written or read"
        )
        _say(
            f"{what}: {error.strerror or error}",
            "make room, or allow it, and run the command again; --debug shows where it failed",
        )
        return _code_of_usage(error) or EXIT_INTERNAL
    if not isinstance(error, LorawatchError):
        hint = "this is a bug in lorawatch; run the command again with --debug and report what it prints"
        _say(f"{type(error).__name__}: {error}", hint)
        return EXIT_INTERNAL
    _say(error.message or str(error), error.fix)
    if isinstance(error, ConfigurationError):
        return EXIT_CONFIGURATION
    return EXIT_ALREADY_RUNNING if isinstance(error, AlreadyRunningError) else EXIT_INTERNAL


def _say(what: str, hint: str) -> None:
    """Write to stderr, if that can be written at all."""
    from lorawatch.cli.options import printable

    text = f"lorawatch: {what}\n" + (f"  {hint}\n" if hint else "")
    try:
        sys.stderr.write(printable(text))
        sys.stderr.flush()
    except OSError:
        _silence(sys.stderr)  # the exit code says the rest


def _code_of_usage(error: BaseException) -> int:
    """Return the exit code of the wrong usage that could not be told, if it was that."""
    before = error.__context__
    while before is not None:
        if isinstance(code := getattr(before, "exit_code", None), int):
            return code
        before = before.__context__
    return 0
