"""The command line: words in, words and an exit code out. Nothing else happens here.

Every command imports what it needs when it runs, so that `lorawatch --help` is quick.
"""

import os
import sys

EXIT_INTERNAL = 1
EXIT_ATTENTION = 3
EXIT_ALREADY_RUNNING = 4
EXIT_CONFIGURATION = 78
EXIT_INTERRUPTED = 130  # as shells say it of Ctrl-C


def main() -> None:
    """Run the command line; the entry point of the package."""
    _replace_closed_streams()
    from lorawatch.cli.program import program

    # Read now: an error may come before any option has been parsed.
    is_debug = "--debug" in sys.argv or bool(os.environ.get("LORAWATCH_DEBUG"))
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        program(arguments, prog_name="lorawatch")
    except BrokenPipeError:
        _silence_stdout()  # whoever read our output has seen enough
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except Exception as error:
        if is_debug:
            raise
        if isinstance(error, OSError):
            _silence_stdout()  # it may be what cannot be written
        sys.exit(_words(error))


def _replace_closed_streams() -> None:
    """Write nowhere where the caller has closed stdout or stderr (`>&-`), and let no other file get their numbers."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8", errors="backslashreplace"))  # noqa: SIM115 as long as the process


def _silence_stdout() -> None:
    """Replace the descriptor: what is still buffered would fail once more at the exit, and change its code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _words(error: Exception) -> int:
    """Say what went wrong on stderr; return the exit code."""
    from lorawatch.domain.errors import AlreadyRunningError, ConfigurationError, LorawatchError

    if isinstance(error, OSError):
        what = (
            f"{error.filename} cannot be used" if error.filename else "the output or a file cannot be written or read"
        )
        hint = "make room, or allow it, and run the command again; --debug shows where it failed"
        sys.stderr.write(f"lorawatch: {what}: {error.strerror or error}\n  {hint}\n")
        return EXIT_INTERNAL
    if not isinstance(error, LorawatchError):
        hint = "this is a bug in lorawatch; run the command again with --debug and report what it prints"
        sys.stderr.write(f"lorawatch: {type(error).__name__}: {error}\n  {hint}" + "\n")
        return EXIT_INTERNAL
    sys.stderr.write(f"lorawatch: {error.message or error}" + (f"\n  {error.fix}" if error.fix else "") + "\n")
    if isinstance(error, ConfigurationError):
        return EXIT_CONFIGURATION
    return EXIT_ALREADY_RUNNING if isinstance(error, AlreadyRunningError) else EXIT_INTERNAL
