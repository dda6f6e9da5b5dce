"""Whether ComfyUI shows what was delivered: asked, asked again, and only then said to be missing.

The thread of each ComfyUI calls it. A burst is checked with one list per folder. What is to be asked stands in the
journal since the delivery was recorded, so nothing is forgotten, and no delivery ever waits for an answer.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lorawatch.domain import listing
from lorawatch.domain.comfyui import ListedFile
from lorawatch.domain.errors import ComfyUIDownError, ComfyUIError, DestinationError
from lorawatch.domain.listing import Folder, Shown, Trouble
from lorawatch.domain.model import Delivery, RemoteFile
from lorawatch.domain.ports import ComfyUIApi, Stop
from lorawatch.engine import announcing
from lorawatch.engine.settings import ComfyUILink, Route
from lorawatch.events import Event, emit
from lorawatch.journal import deliveries, listings
from lorawatch.journal.database import Database
from lorawatch.journal.listings import Listing

# After each answer without the name: about 10 s until it is said to be missing, together with GATHER_SECONDS.
ASK_AGAIN_SECONDS = (0.5, 1.0, 2.0, 2.5, 3.0)
# After this answer the directories are touched: ComfyUI knows its lists by their times, which somebody may have put
# back (rsync -t, a restored backup). Not at the first, for a list that is being renewed needs no help.
TOUCH_AFTER = 2
# What is missing is asked for on and on, for whoever mends it: one list for all, at most once an hour at last.
FIRST_LATER_SECONDS = 60.0
LONGEST_LATER_SECONDS = 3600.0
MOST_AT_ONCE = 500
# A ComfyUI that computes may take a second for each answer: what has arrived meanwhile then goes before the rest.
LONGEST_ROUND_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Answer:
    """What is now known of one name. Neither shown nor trouble: it is not there any more, or never will be."""

    row: Listing
    delivery: Delivery | None = None
    shown: Shown | None = None
    trouble: Trouble | None = None
    is_stale: bool = False  # the file is there, and its directories are to be touched: the list may just be old


@dataclass(slots=True)
class _Round:
    """One round of questions; every folder is asked for once."""

    comfyui: ComfyUIApi
    stop: Stop
    _folders: dict[str, Folder] = field(default_factory=dict)

    def folder(self, name: str) -> Folder:
        """Return what ComfyUI says about a folder. Raises ComfyUIDownError."""
        if name not in self._folders:
            self._folders[name] = self._ask(name)
        return self._folders[name]

    def _ask(self, name: str) -> Folder:
        try:
            names = self.comfyui.listing(name, stop=self.stop)
        except ComfyUIDownError:
            raise
        except ComfyUIError as error:
            return Folder(name, None, None, error=error.message, fix=error.fix)
        if names is None:
            return Folder(name, None, None)
        try:
            files = self.comfyui.files(name, stop=self.stop)
        except ComfyUIDownError:
            raise
        except ComfyUIError:  # an experiment of ComfyUI's: without it the names alone are compared
            files = None
        return Folder(name, frozenset(names), None if files is None else _by_name(files))


class ListingCheck:
    """Checks what was delivered to the destinations that one ComfyUI reads."""

    def __init__(
        self, routes: Sequence[Route], *, journal: Database, stop: Stop, now: Callable[[], float] = time.time
    ) -> None:
        self._routes = {route.destination_id: route for route in routes}
        self._journal = journal
        self._stop = stop
        self._now = now

    def tend(self, comfyui: ComfyUIApi) -> bool:
        """Ask for what is due; return whether anything was. Raises ComfyUIDownError, StoppedError and JournalError."""
        started, is_any = self._now(), False
        questions = _Round(comfyui, self._stop)
        while not self._stop.is_set():
            with self._journal.read() as connection:
                rows = listings.due(connection, list(self._routes), now=started, limit=MOST_AT_ONCE)
                found = {each.delivery_id: each for each in deliveries.get(connection, [r.delivery_id for r in rows])}
            if not rows:
                break
            is_any = True
            answers: list[_Answer] = []
            try:
                for row in rows:
                    answers.append(self._look(row, found[row.delivery_id], questions))
                    if self._now() - started > LONGEST_ROUND_SECONDS:
                        return True
            finally:  # also when it goes down in the middle: what it has answered need not be asked again
                self._record(answers)
                self._touch(answers)
        return is_any

    def _look(self, row: Listing, delivery: Delivery, questions: _Round) -> _Answer:
        """Look for one delivered file in the lists."""
        route = self._routes[row.destination_id]
        link = _link_of(route)
        kind = delivery.artifact.facts.kind
        if kind in listing.UNREAD_KINDS:
            return _Answer(row)
        # Only where our times mean something to ComfyUI is the file looked at first: elsewhere that takes a call.
        is_there, there = self._what_stands(route, row) if link.has_same_times else (None, None)
        folders = [questions.folder(name) for name in listing.FOLDERS_OF_KIND.get(kind, listing.OTHER_FOLDERS)]
        shown = _shown_in(folders, delivery, link, there)
        if shown is not None and not shown.is_other:
            trouble = self._confirm(questions, folders, delivery, shown)
            return _Answer(row, delivery, None if trouble else shown, trouble)
        is_touched = link.toucher is not None and row.asked + 1 == TOUCH_AFTER
        if is_there is None and (is_touched or row.state == "not-listed"):
            is_there, _ = self._what_stands(route, row)
        if is_there is False:
            return _Answer(row)
        if shown is not None:
            trouble = listing.why_other(row.remote_name, shown)
        else:
            trouble = self._why_missing(questions, folders, row, delivery, route)
        return _Answer(row, delivery, trouble=trouble, is_stale=is_touched and is_there is True)

    @staticmethod
    def _what_stands(route: Route, row: Listing) -> tuple[bool | None, RemoteFile | None]:
        """Return whether the file is still there, and what stands there; None: that cannot be told now."""
        try:
            there = route.destination.find(row.remote_name)
        except DestinationError:
            return None, None  # its lane says so
        return there is not None, there

    def _confirm(
        self, questions: _Round, folders: Sequence[Folder], delivery: Delivery, shown: Shown
    ) -> Trouble | None:
        """Return what keeps ComfyUI from using a file that it lists."""
        folder = next(folder for folder in folders if folder.name == shown.folder)
        name = shown.file.name
        try:
            if folder.files is None and shown.folder == "loras":
                can_be_chosen = questions.comfyui.can_choose_lora(name, stop=self._stop)
                if can_be_chosen is False:
                    return Trouble("value-not-in-list", f"ComfyUI lists {name!r}, but refuses a graph that names it")
            if name.endswith(".safetensors") and not questions.comfyui.can_read(shown.folder, name, stop=self._stop):
                return listing.why_unreadable(delivery.remote_name, shown)
        except ComfyUIDownError:
            raise
        except ComfyUIError:
            return None  # it lists the name with what it tells of it; more cannot be known
        return None

    def _why_missing(
        self, questions: _Round, folders: Sequence[Folder], row: Listing, delivery: Delivery, route: Route
    ) -> Trouble:
        link = _link_of(route)
        if row.asked < len(ASK_AGAIN_SECONDS):  # it is not said yet: no need to look everywhere for the reason
            return Trouble("comfyui-not-listed", f"ComfyUI does not list {row.remote_name!r} yet")
        asked = {folder.name for folder in folders}
        others = [questions.folder(name) for name in listing.OTHER_FOLDERS if name not in asked]
        elsewhere = _shown_in(others, delivery, link, None)
        with self._journal.read() as connection:
            is_any_listed = listings.is_any_listed(connection, row.destination_id)
        where = link.directories[0] if link.directories else f"destination {route.name}"
        return listing.why_missing(
            row.remote_name,
            folders,
            destination=where,
            elsewhere=None if elsewhere is None or elsewhere.is_other else elsewhere,
            is_any_listed=is_any_listed,
        )

    def _record(self, answers: Sequence[_Answer]) -> None:
        now = self._now()
        with self._journal.write() as connection:
            for answer in answers:
                asked = answer.row.asked + 1
                if answer.shown is not None:
                    listings.record(connection, answer.row, state="listed")
                elif answer.trouble is None:
                    listings.drop(connection, answer.row)
                elif _is_patient(answer):
                    at = now + ASK_AGAIN_SECONDS[asked - 1]
                    listings.record(connection, answer.row, state=answer.row.state, asked=asked, next_ask_at=at)
                else:
                    listings.record(
                        connection,
                        answer.row,
                        state="not-listed",
                        code=answer.trouble.code,
                        reason=answer.trouble.reason,
                        asked=asked,
                        next_ask_at=now + _later_seconds(asked),
                    )
        for answer in answers:
            _announce(answer)

    def _touch(self, answers: Sequence[_Answer]) -> None:
        """Give the directories of files that stand there and are not listed the present time."""
        for number, route in self._routes.items():
            toucher = _link_of(route).toucher
            names = [
                answer.row.remote_name for answer in answers if answer.row.destination_id == number and answer.is_stale
            ]
            if toucher is None or not names:
                continue
            try:
                toucher.touch(names)
            except DestinationError:
                pass  # its lane says what is wrong there; ComfyUI is asked again in any case


def _is_patient(answer: _Answer) -> bool:
    return answer.row.asked < len(ASK_AGAIN_SECONDS)


def _later_seconds(asked: int) -> float:
    doublings = min(asked - len(ASK_AGAIN_SECONDS) - 1, 16)
    return float(min(FIRST_LATER_SECONDS * 2.0**doublings, LONGEST_LATER_SECONDS))


def _announce(answer: _Answer) -> None:
    """Say what has changed: that it is listed, or why it is not; the same reason is said once."""
    if answer.delivery is None:
        return
    if answer.shown is not None:
        shown = answer.shown
        emit(Event.COMFYUI_LISTED, **announcing.named(answer.delivery), listed_as=shown.file.name, folder=shown.folder)
    elif answer.trouble is not None and not _is_patient(answer) and answer.trouble.code != answer.row.code:
        trouble = answer.trouble
        emit(
            Event.COMFYUI_NOT_LISTED,
            **announcing.named(answer.delivery),
            code=trouble.code,
            reason=trouble.reason,
            fix=trouble.fix,
        )


def _shown_in(
    folders: Sequence[Folder], delivery: Delivery, link: ComfyUILink, there: RemoteFile | None
) -> Shown | None:
    """Return how ComfyUI shows a delivered file in one of these folders; rather as itself than as another file."""
    shown = [
        listing.find_in(
            folder,
            delivery.remote_name,
            directories=link.directories,
            size_bytes=delivery.artifact.version.size_bytes,
            there=there,
        )
        for folder in folders
    ]
    known = [each for each in shown if each is not None]
    return next((each for each in known if not each.is_other), known[0] if known else None)


def _link_of(route: Route) -> ComfyUILink:
    if route.comfyui is None:
        msg = f"{route.name} has no ComfyUI"
        raise RuntimeError(msg)
    return route.comfyui


def _by_name(files: Sequence[ListedFile]) -> dict[str, list[ListedFile]]:
    found: dict[str, list[ListedFile]] = {}
    for file in files:
        found.setdefault(file.name, []).append(file)
    return found
