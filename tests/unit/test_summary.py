"""The line in `systemctl status`."""

import pytest

from lorawatch.engine.summary import Overview, summary_line


def overview(
    *,
    sent_bytes: int = 0,
    sending_bytes: int = 0,
    waiting_for: tuple[str, ...] = (),
    down: tuple[str, ...] = (),
    **counts: int,
) -> Overview:
    return Overview(counts, sent_bytes, sending_bytes, waiting_for, down)


@pytest.mark.parametrize(
    ("folders", "given", "line"),
    [
        (1, overview(), "watching 1 folder · 0 delivered"),
        (
            1,
            overview(
                sending=2,
                waiting=1,
                delivered=128,
                sent_bytes=64,
                sending_bytes=100,
                waiting_for=("render-box",),
                down=("render-box",),
            ),
            "watching 1 folder · 2 sending (64%) · 1 waiting for render-box · 128 delivered",
        ),
        (2, overview(planned=3, failed=1), "watching 2 folders · 3 planned · 1 failed · 0 delivered"),
        (0, overview(down=("b", "a"), delivered=5), "watching 0 folders · a, b down · 5 delivered"),
        (1, overview(sending=1, sent_bytes=9, sending_bytes=0), "watching 1 folder · 1 sending (0%) · 0 delivered"),
    ],
)
def test_the_status_line_names_what_there_is(folders: int, given: Overview, line: str) -> None:
    assert summary_line(folders, given) == line
