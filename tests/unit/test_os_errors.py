"""Every errno has a meaning, and the words that come with it name what was tried and what to do."""

import errno
import os

import pytest

from lorawatch.domain.errors import (
    DeliveryDelayedError,
    DeliveryRefusedError,
    DestinationDownError,
    DestinationError,
    FileUnreadableError,
    FileVanishedError,
    SourceError,
)
from lorawatch.transport.os_errors import destination_error, destination_errors, source_error

EXPECTED = {
    errno.ENOSPC: (DestinationDownError, "disk-full"),
    errno.EDQUOT: (DestinationDownError, "disk-full"),
    errno.EROFS: (DestinationDownError, "destination-read-only"),
    errno.EACCES: (DestinationDownError, "destination-permission-denied"),
    errno.EPERM: (DestinationDownError, "destination-permission-denied"),
    errno.EIO: (DestinationDownError, "io-error"),
    errno.ESTALE: (DestinationDownError, "stale-handle"),
    errno.ETIMEDOUT: (DestinationDownError, "destination-unreachable"),
    errno.EHOSTDOWN: (DestinationDownError, "destination-unreachable"),
    errno.ENOTCONN: (DestinationDownError, "destination-unreachable"),
    errno.EFBIG: (DeliveryRefusedError, "file-too-large"),
    errno.ENAMETOOLONG: (DeliveryRefusedError, "name-refused"),
    errno.ENOENT: (DeliveryDelayedError, "destination-changed"),
    errno.ENOKEY: (DestinationDownError, "destination-down"),
    errno.EKEYEXPIRED: (DestinationDownError, "destination-down"),
    errno.EBUSY: (DeliveryDelayedError, "delivery-delayed"),
    errno.ELOOP: (DeliveryDelayedError, "delivery-delayed"),
    errno.EMFILE: (DeliveryDelayedError, "delivery-delayed"),
    errno.ENFILE: (DeliveryDelayedError, "delivery-delayed"),
    errno.ENOMEM: (DeliveryDelayedError, "io-error"),  # not in the table
}


def refusal(number: int) -> OSError:
    return OSError(number, os.strerror(number))


@pytest.mark.parametrize(("number", "meaning"), EXPECTED.items(), ids=lambda value: errno.errorcode.get(value, ""))
def test_a_refusal_of_a_destination_gets_its_class_and_its_code(
    number: int, meaning: tuple[type[DestinationError], str], tmp_path: os.PathLike[str]
) -> None:
    error = destination_error(refusal(number), doing="write x", directory=str(tmp_path))
    assert (type(error), error.code) == meaning


@pytest.mark.parametrize("number", sorted(errno.errorcode), ids=errno.errorcode.get)
def test_no_errno_escapes_as_an_os_error(number: int, tmp_path: os.PathLike[str]) -> None:
    with pytest.raises(DestinationError) as destination, destination_errors("write x", str(tmp_path)):
        raise refusal(number)
    assert "write x" in destination.value.message
    assert destination.value.fix
    assert isinstance(source_error(refusal(number), "/outputs/x"), SourceError)


def test_an_os_error_without_a_number_has_a_meaning_too(tmp_path: os.PathLike[str]) -> None:
    error = destination_error(OSError("odd"), doing="write x", directory=str(tmp_path))
    assert "odd" in error.message


def test_nothing_found_below_a_missing_root_means_the_root() -> None:
    error = destination_error(refusal(errno.ENOENT), doing="write x", directory="/nowhere at all")
    assert error.code == "destination-missing"
    assert "mkdir -p '/nowhere at all'" in error.fix


def test_a_permission_denied_says_who_was_refused_and_gives_a_line_to_copy(tmp_path: os.PathLike[str]) -> None:
    error = destination_error(refusal(errno.EACCES), doing="write x", directory=str(tmp_path))
    assert f"uid {os.geteuid()}" in error.message
    assert f"setfacl -m u:{os.geteuid()}:rwx {tmp_path}" in error.fix


def test_a_source_that_is_gone_and_one_that_is_forbidden_differ() -> None:
    assert isinstance(source_error(refusal(errno.ENOENT), "/outputs/x"), FileVanishedError)
    assert isinstance(source_error(refusal(errno.EACCES), "/outputs/x"), FileUnreadableError)
    assert isinstance(source_error(refusal(errno.EIO), "/outputs/x"), FileUnreadableError)
