"""The reader threads of one source, where they are stopped before they have begun."""

from typing import TYPE_CHECKING, cast

from lorawatch.engine.reader_pool import ReaderPool

if TYPE_CHECKING:
    from lorawatch.engine.reading import Reader


def test_a_pool_that_was_never_started_can_be_stopped() -> None:
    reader = cast("Reader", None)  # nothing is read
    pool = ReaderPool(reader, on_result=lambda _: None, on_crash=lambda *_: None)
    assert pool.stop(deadline=lambda: 1.0)
