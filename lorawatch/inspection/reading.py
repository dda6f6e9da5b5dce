"""Positional reads of a file that somebody else may still be writing, with every failure given its class.

Everything in inspection reads through here, on whatever thread it runs. It never maps a file: a trainer that
truncates a mapped file kills the process with SIGBUS.
"""

import os

from lorawatch.domain.errors import FileChangedError, FileUnreadableError


def unreadable(error: OSError) -> FileUnreadableError:
    """Return the error to raise when the system refuses a read."""
    return FileUnreadableError(
        f"reading the file failed: {error.strerror or error}",
        fix="check the disk or the mount it is on; it is looked at again by itself",
    )


def ended_early(offset: int, size_bytes: int) -> FileChangedError:
    """Return the error to raise when the file is shorter than it was a moment ago."""
    return FileChangedError(f"the file had {size_bytes:,} bytes, but reading ended at byte {offset:,}: it was cut")


def pread_into(descriptor: int, buffer: memoryview, offset: int) -> int:
    """Read once at the offset into the buffer and return how many bytes came; 0 is the end of the file."""
    try:
        return os.preadv(descriptor, [buffer], offset)
    except OSError as error:
        raise unreadable(error) from error


def pread_exactly(descriptor: int, length: int, offset: int) -> bytes:
    """Return that many bytes from the offset. Raises FileChangedError if the file ends before."""
    parts: list[bytes] = []
    position, end = offset, offset + length
    while position < end:
        try:
            part = os.pread(descriptor, end - position, position)
        except OSError as error:
            raise unreadable(error) from error
        if not part:
            raise ended_early(position, end)
        parts.append(part)
        position += len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
