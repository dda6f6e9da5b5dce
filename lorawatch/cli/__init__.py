"""The command line: words in, words and an exit code out. Nothing else happens here.

Every command imports what it needs when it runs, so that `lorawatch --help` is quick.
"""

import os
import sys

EXIT_INTERNAL = 1
EXIT_ATTENTION = 3
EXIT_ALREADY_RUNNING = 4
EXIT_CONFIGURATION = 78


def main() -> None:
    """Run the command line; the entry point of the package."""
    from lorawatch.cli.program import program

    # Read now: an error may come before any option has been parsed.
    is_debug = "--debug" in sys.argv or bool(os.environ.get("LORAWATCH_DEBUG"))
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        program(arguments, prog_name="lorawatch")
    except BrokenPipeError:
        # Whoever read our output has seen enough; the descriptor is replaced so that the exit flushes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if is_debug:
            raise
        sys.exit(_words(error))


def _words(error: Exception) -> int:
    """Say what went wrong on stderr; return the exit code."""
    from lorawatch.domain.errors import AlreadyRunningError, ConfigurationError, LorawatchError

    if not isinstance(error, LorawatchError):
        hint = "this is a bug in lorawatch; run the command again with --debug and report what it prints"
        sys.stderr.write(f"lorawatch: {type(error).__name__}: {error}\n  {hint}" + "\n")
        return EXIT_INTERNAL
    sys.stderr.write(f"lorawatch: {error.message or error}" + (f"\n  {error.fix}" if error.fix else "") + "\n")
    if isinstance(error, ConfigurationError):
        return EXIT_CONFIGURATION
    return EXIT_ALREADY_RUNNING if isinstance(error, AlreadyRunningError) else EXIT_INTERNAL
