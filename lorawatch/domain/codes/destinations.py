"""Codes of destinations that are directories, and of deliveries in general. A pure table."""

from lorawatch.domain.codes.code import Code

DESTINATION_CODES = (
    Code(
        "destination-missing",
        "The destination's directory does not exist. It may be a disk that is not mounted, so it is not created.",
        "Mount the disk, or create the directory once: `mkdir -p DIRECTORY`. Deliveries go on by themselves.",
    ),
    Code(
        "destination-unmounted",
        "The destination's disk is not mounted; only its mount point is left, and filling that would fill the system.",
        "Mount it: `sudo mount DIRECTORY`. Deliveries go on by themselves.",
    ),
    Code(
        "destination-read-only",
        "The destination's disk is mounted read-only. A disk that turned so by itself has errors.",
        "`sudo mount -o remount,rw MOUNTPOINT`; if it happened by itself look first: `sudo dmesg | tail -50`. "
        "A directory that was made after the service's start: `sudo systemctl restart lorawatch`.",
    ),
    Code(
        "destination-permission-denied",
        "lorawatch may not write into the destination's directory.",
        "`sudo setfacl -m u:lorawatch:rwx -m d:u:lorawatch:rwx DIRECTORY`, or run it as ComfyUI's user.",
    ),
    Code(
        "destination-unreachable",
        "The file server behind the destination's directory does not answer.",
        "Check the server and the network: `findmnt -T DIRECTORY` names it, then `ping SERVER`.",
    ),
    Code(
        "destination-down",
        "The destination cannot take deliveries now. They wait, and it is asked again by itself.",
        "See why with `lorawatch status` and `lorawatch doctor`.",
    ),
    Code(
        "low-disk-space",
        "The delivery would leave less room than min_free_bytes; a full disk would kill a training run.",
        "Free some room (`df -h DIRECTORY`), or lower `min_free_bytes`. The delivery goes on by itself.",
    ),
    Code(
        "disk-full",
        "The destination's disk, or the quota there, is full.",
        "Free some room: `df -h DIRECTORY`, `quota -s`. The delivery goes on by itself.",
    ),
    Code(
        "file-too-large",
        "The destination's file system cannot hold a file of that size; FAT ends at 4 GiB.",
        "Use a disk with ext4, xfs, btrfs, ntfs or exfat: `findmnt -T DIRECTORY` shows what it is.",
    ),
    Code(
        "io-error",
        "A disk reported an error while a file was read, written or checked.",
        "Look at `sudo dmesg | tail -50` and the disk's health: `sudo smartctl -H /dev/DISK`. It is tried again.",
    ),
    Code(
        "stale-handle",
        "The file server no longer knows the mounted directory; it was exported anew or replaced.",
        "Mount it again: `sudo umount -l MOUNTPOINT && sudo mount MOUNTPOINT`.",
    ),
    Code(
        "io-stuck",
        "A read or write has not come back for a long time, as when a network disk is gone. The others go on.",
        "Check the file server. What hangs: `ps -eo pid,stat,wchan:30,cmd | grep ' D'`. It goes on by itself.",
    ),
    Code(
        "copy-corrupt",
        "The copy was read back and differs from the source. It was removed before anybody could see it.",
        "It is copied again. If that stays, test the memory and the disk: `sudo smartctl -t long /dev/DISK`.",
    ),
    Code(
        "destination-changed",
        "Another program moved, changed or removed something at the destination in the middle of a delivery.",
        "It is done again by itself. If it stays: see what tidies up hidden files there, and exempt `.*`.",
    ),
    Code(
        "mode-not-set",
        "The file system does not keep file modes (vfat, ntfs, cifs). The file is delivered with those of the mount.",
        "Nothing, if ComfyUI can read it; otherwise set `fmask` or `file_mode` in the mount options.",
    ),
    Code(
        "group-not-set",
        "Files could not be given the group of the destination's directory. They are delivered all the same.",
        "If ComfyUI cannot read them: `sudo usermod -aG GROUP lorawatch`, then restart lorawatch.",
    ),
    Code(
        "name-taken",
        "A file that lorawatch did not put there has this name. It is left alone.",
        'Rename one of them, or say what to do: `on_conflict = "overwrite"` or `"skip"` or `"keep-both"`.',
    ),
    Code(
        "name-refused",
        "The name cannot be used at the destination (too long, hidden, absolute, or with characters it does not"
        " take), or the daemon does not look for it.",
        "Change `name_template`, or `watch.include` and `watch.exclude`; or give a name:"
        " `lorawatch send FILE --as NAME`.",
    ),
    Code(
        "gave-up",
        "The delivery was tried for as long as retry.give_up_after_seconds allows.",
        "Remove the cause (`lorawatch status` names it), then `lorawatch retry ID`.",
    ),
    Code(
        "delivery-delayed",
        "This delivery did not work this time; others may.",
        "Nothing: it is tried again. If it stays, see `lorawatch status`.",
    ),
    Code(
        "delivery-refused",
        "The destination will not take this delivery as it is.",
        "See the reason with `lorawatch status`, remove it, then `lorawatch retry ID`.",
    ),
)
