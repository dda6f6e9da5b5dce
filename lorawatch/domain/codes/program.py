"""Codes of lorawatch itself: configuration, state directory, log, its own faults. A pure table."""

from lorawatch.domain.codes.code import Code

PROGRAM_CODES = (
    Code(
        "configuration-invalid",
        "The configuration cannot be used. On a reload the one before it stays in force.",
        "Correct every line of the list that was shown, then `lorawatch doctor`.",
    ),
    Code(
        "already-running",
        "Another lorawatch works with this state directory.",
        "See it: `systemctl status lorawatch`, `pgrep -af lorawatch`. A second one needs its own `state_directory`.",
    ),
    Code(
        "journal-unusable",
        "The journal in the state directory cannot be opened, read or written.",
        "Check owner and room: `ls -la STATE_DIRECTORY`, `df -h STATE_DIRECTORY`.",
    ),
    Code(
        "journal-newer",
        "The journal was written by a newer lorawatch. It was left untouched.",
        "Install the newer version again: `pip install -U lorawatch`; or use another state_directory.",
    ),
    Code(
        "journal-older",
        "The journal was written by an older lorawatch, which may still run. It was left untouched.",
        "Restart the daemon, which brings it up to date: `sudo systemctl restart lorawatch`, or `lorawatch once`.",
    ),
    Code(
        "log-file-unusable",
        "The log file cannot be opened or written. Events still go to the console or the journal.",
        "Check `file` below [log], its directory's owner and room: `ls -la DIRECTORY`, `df -h DIRECTORY`.",
    ),
    Code(
        "stopped",
        "lorawatch was stopped in the middle of this. Nothing is lost.",
        "Nothing; it goes on at the next start.",
    ),
    Code(
        "internal-error",
        "A fault in lorawatch itself. The rest goes on.",
        "Please report it, with the event's traceback: `journalctl -u lorawatch -p err -o json`.",
    ),
)
