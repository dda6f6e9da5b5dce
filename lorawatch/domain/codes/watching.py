"""Codes of watched directories. A pure table."""

from lorawatch.domain.codes.code import Code

WATCH_CODES = (
    Code(
        "root-missing",
        "The watched directory is not there. lorawatch waits for it and goes on by itself.",
        "Mount its disk or create it: `mkdir -p DIRECTORY`. If it has moved, correct `directories` below [watch].",
    ),
    Code(
        "root-unmounted",
        "The disk of the watched directory is not mounted; only its empty mount point is left.",
        "Mount it again: `sudo mount DIRECTORY`. What is still to be delivered waits.",
    ),
    Code(
        "root-replaced",
        "Another directory stands at the watched path than before. It is watched instead, and looked through in full.",
        "Nothing, if that was meant; otherwise see what is mounted there: `findmnt -T DIRECTORY`.",
    ),
    Code(
        "root-empty",
        "The watched directory is empty, although files in it are still to be delivered; its disk may be missing.",
        "Check the mount: `findmnt -T DIRECTORY`. If the files are really gone, the first new file settles it.",
    ),
    Code(
        "root-unreadable",
        "The watched directory is there, but lorawatch may not list it.",
        "Let it read: `sudo setfacl -m u:lorawatch:rx DIRECTORY`; the whole path: `namei -l DIRECTORY`.",
    ),
    Code(
        "inotify-limit",
        "The kernel gives no more watches, so parts of the tree are only found by looking at them every few seconds.",
        "Raise the limit: `sudo sysctl fs.inotify.max_user_watches=524288` (in /etc/sysctl.d to keep it).",
    ),
    Code(
        "inotify-overflow",
        "More changed at once than the kernel could report, so the whole directory is looked through again.",
        "Nothing; if it comes often: `sudo sysctl fs.inotify.max_queued_events=65536`.",
    ),
)
