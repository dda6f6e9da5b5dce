"""What the first bytes of a file give away: a safetensors file may begin so, or it is plainly something else.

`header` and `wholeness` call it. It never reads: it is given the bytes.
"""

from lorawatch.domain.errors import FileRejectedError

LENGTH_BYTES = 8  # the header's length, little-endian, comes first in the format
PREFIX_BYTES = 65_536  # one read that holds the whole header of a LoRA with up to about 500 tensors

# Above this a length is no length but text or another format: 256 TiB, and eight letters are far more.
_ABSURD_LENGTH = 2**48

_FIX_DOWNLOAD = "download or save the model again"
# (how it begins, code, what it is, what to do). Several servers begin an error page with white space, in any case.
_TEXTS = (
    (
        b"<!doctype",
        "html-page",
        "a web page, not a model",
        "download the model again, with a login where one is needed",
    ),
    (b"<html", "html-page", "a web page, not a model", "download the model again, with a login where one is needed"),
    (b"version https://git-lfs", "lfs-pointer", "a Git LFS pointer, not the model it points to", "run `git lfs pull`"),
)
_MAGICS = (
    (b"PK\x03\x04", "pickle-file", "a zip archive (a PyTorch checkpoint)", "convert it to safetensors"),
    *(
        (bytes((0x80, protocol)), "pickle-file", "a Python pickle, which can run code", "convert it to safetensors")
        for protocol in (2, 3, 4, 5)
    ),
    (b"GGUF", "gguf-file", "a GGUF model", "lorawatch delivers safetensors files"),
)


def header_length(prefix: bytes) -> int | None:
    """Return the length that the first eight bytes announce, or None if they are not all there."""
    return int.from_bytes(prefix[:LENGTH_BYTES], "little") if len(prefix) >= LENGTH_BYTES else None


def reject_foreign(prefix: bytes, *, max_header_bytes: int) -> None:
    """Raise FileRejectedError if a file that begins so can never become a safetensors file that we take.

    A header that is not there yet, or is still zeros in a preallocated file, passes.
    """
    length = header_length(prefix)
    first = prefix[LENGTH_BYTES : LENGTH_BYTES + 1]
    # 0x80 0x02 is a pickle, and the first two bytes of a header of 640 bytes: the brace decides.
    if length is not None and length <= max_header_bytes and first in b"{ \t\r\n\0":
        return
    _reject_known(prefix)
    if length is None:
        return
    if length > max_header_bytes and (first == b"{" or length < _ABSURD_LENGTH):
        raise FileRejectedError(
            f"the header claims {length:,} bytes; at most {max_header_bytes:,} are read",
            code="header-too-large",
            fix="if the file is right, raise inspect.max_header_bytes",
        )
    raise FileRejectedError(
        f"it begins with {prefix[:16]!r}, which is not the beginning of a safetensors file",
        code="not-safetensors",
        fix=_FIX_DOWNLOAD,
    )


def _reject_known(prefix: bytes) -> None:
    text = prefix[:256].lstrip().lower()
    for start, code, what, fix in _TEXTS:
        if text.startswith(start):
            raise FileRejectedError(f"it is {what}", code=code, fix=fix)
    for start, code, what, fix in _MAGICS:
        if prefix.startswith(start):
            raise FileRejectedError(f"it is {what}", code=code, fix=fix)
