"""`send`: deliver a file now."""

import io
import os
import time
from typing import TYPE_CHECKING, Annotated

import typer

from lorawatch.cli import EXIT_ATTENTION, options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lorawatch.by_hand import Sent
    from lorawatch.cli.bars import Bars
    from lorawatch.config import Config
    from lorawatch.engine.settings import Route
    from lorawatch.journal.database import Database
    from lorawatch.looking import Verdict
    from lorawatch.signals import Interruption
    from lorawatch.status_rows import Row


def send(
    files: Annotated[list[str], typer.Argument(metavar="FILE", help="Files to deliver.")],
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="NAME",
            autocompletion=options.destination_names,
            help="One destination instead of all of them.",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="Name at the destination, instead of the template's."),
    ] = None,
    config: options.Config = None,
    log_format: options.LogFormat = None,
    log_level: options.LogLevel = None,
) -> None:
    """Deliver files now, also those outside of the watched directories.

    Example: lorawatch send ~/downloads/style.safetensors --to comfyui
    """
    from lorawatch import events
    from lorawatch.app import routes_of
    from lorawatch.cli.bars import bars
    from lorawatch.journal.database import Database
    from lorawatch.signals import stop_on_signal

    if name is not None:
        _refuse_bad_name(name, files)
    loaded = options.load_configuration(config, log_format, log_level).config
    # Its own words replace the events; whoever wants them asks for a log file.
    events.configure(format="json", level="info", environ=os.environ, file=loaded.log.file, stream=io.StringIO())
    if to is not None:
        _refuse_unknown(to, loaded)
    journal = Database.open_beside(loaded.state_directory)
    routes = [route for route in routes_of(loaded, journal) if to in (None, route.name)]
    flight = _Flight()
    with stop_on_signal() as stop, bars(flight.rows) as shown:
        sender = _Sender(loaded, routes, journal, shown, flight, stop)
        is_fine = True
        for file in files:
            if not stop.is_set():
                is_fine = sender.send(file, name) and is_fine
        sender.say_what_was_left(files)
    if stop.is_set():
        raise typer.Exit(stop.exit_code)
    if not is_fine:
        raise typer.Exit(EXIT_ATTENTION)


def _refuse_bad_name(name: str, files: list[str]) -> None:
    from lorawatch.domain.errors import DeliveryRefusedError
    from lorawatch.domain.planning import refuse_unsafe_name

    if len(files) > 1:
        raise typer.BadParameter("one name fits one file", param_hint="--as")
    try:
        refuse_unsafe_name(name)
    except DeliveryRefusedError as error:
        raise typer.BadParameter(error.message, param_hint="--as") from error


def _refuse_unknown(name: str, config: "Config") -> None:
    known = [each.name for each in config.destinations if each.enabled]
    if name not in known:
        said = f"no enabled destination is named {options.printable(name)!r}; there is: {', '.join(known) or 'none'}"
        raise typer.BadParameter(said, param_hint="--to")


class _Flight:
    """What is under way now, for the bar: set by the main thread, drawn by another."""

    def __init__(self) -> None:
        self._now: tuple[str, str, int, float] | None = None  # label, file, size in bytes, begun at
        self.done_bytes = 0

    def begin(self, label: str, subject: str, size_bytes: int) -> None:
        self.done_bytes = 0
        self._now = (label, subject, size_bytes, time.monotonic())

    def advance(self, done_bytes: int) -> None:
        self.done_bytes = done_bytes

    def end(self) -> None:
        self._now = None

    def rows(self, columns: int) -> "Sequence[Row]":
        from lorawatch.status_rows import Rank, entry, flight_row

        if self._now is None:
            return []
        label, subject, size_bytes, begun_at = self._now
        if not size_bytes:  # not known yet
            return [entry("↑", "good", label, subject, [], rank=Rank.FLIGHT, columns=columns)]
        seconds = time.monotonic() - begun_at
        pace = self.done_bytes / seconds if self.done_bytes and seconds > 0.5 else None
        return [flight_row(label, subject, self.done_bytes, size_bytes, pace, columns=columns)]


class _Sender:
    """Sends one file after the other, and says what becomes of each."""

    def __init__(
        self,
        config: "Config",
        routes: "list[Route]",
        journal: "Database",
        shown: "Bars",
        flight: _Flight,
        stop: "Interruption",
    ) -> None:
        from lorawatch.domain.policy import RetrySettings
        from lorawatch.looking import examiner_of

        self._config = config
        self._examiner = examiner_of(config)
        self._retry = RetrySettings(
            config.retry.first_seconds, config.retry.max_seconds, config.retry.give_up_after_seconds
        )
        self._routes = routes
        self._journal = journal
        self._shown = shown
        self._flight = flight
        self._stop = stop
        self._begun: list[str] = []

    def send(self, file: str, name: str | None) -> bool:
        """Send a file to every destination; return whether it arrived at all of them."""
        from lorawatch.domain.errors import StoppedError
        from lorawatch.looking import look_at

        subject = os.path.basename(file)
        self._begun.append(file)
        self._flight.begin("checking", subject, 0)
        try:
            verdict = look_at(file, self._examiner, lambda *_: None, self._stop, self._checked(subject))
        except StoppedError:
            self._shown.say(f"{options.name(file)}: was being checked, nothing was sent", err=True)
            return False
        if not verdict.is_accepted:
            self._flight.end()
            self._shown.say(
                f"{options.name(file)}: not sent ({verdict.code}): {options.name(verdict.reason or '')}", err=True
            )
            return False
        is_fine = self._deliver(file, verdict, name)
        self._flight.end()
        return is_fine

    def say_what_was_left(self, files: "Sequence[str]") -> None:
        """Say after Ctrl-C what was not begun."""
        left = ", ".join(options.name(file) for file in files if file not in self._begun)
        if self._stop.is_set():
            self._shown.say(f"Stopped as asked.{f' Not begun: {left}' if left else ''}", err=True)

    def _checked(self, subject: str) -> "Callable[[int, int], None]":
        def told(size_bytes: int, done_bytes: int) -> None:
            if not self._flight.done_bytes:
                self._flight.begin("checking", subject, size_bytes)
            self._flight.advance(done_bytes)

        return told

    def _deliver(self, file: str, verdict: "Verdict", name: str | None) -> bool:
        from lorawatch.by_hand import deliver

        is_fine, size_bytes = True, verdict.size_bytes or 0
        reached: list[str] = []

        def report(destination: str, done_bytes: int) -> None:
            if destination not in reached:
                reached.append(destination)
                self._flight.begin("sending", f"{os.path.basename(file)} → {destination}", size_bytes)
            self._flight.advance(done_bytes)

        results = deliver(
            verdict, self._routes, self._journal, name=name, retry=self._retry, stop=self._stop, report=report
        )
        done: list[str] = []
        for result in results:
            is_fine = self._say(file, result, size_bytes) and is_fine
            done.append(result.delivery.destination)
        for route in self._routes:
            if route.name not in done:
                self._shown.say(f"{options.name(file)} → {route.name}: was not begun; send it again", err=True)
        return is_fine and len(done) == len(self._routes)

    def _say(self, file: str, sent: "Sent", size_bytes: int) -> bool:
        """Say what became of one delivery; return whether it arrived."""
        from lorawatch import humanize

        delivery = sent.delivery
        where = f"{options.name(file)} → {delivery.destination}:{options.name(delivery.remote_name)}"
        if sent.code is None:
            self._shown.say(f"{where}: delivered ({humanize.size(size_bytes)}, proof: {sent.evidence})")
            return True
        if sent.code == "stopped":
            share = humanize.percent(self._flight.done_bytes, size_bytes)
            self._shown.say(f"{where}: stopped after {share} of {humanize.size(size_bytes)}", err=True)
            self._shown.say(
                f"  nothing is lost: {self._who()} it; or: lorawatch retry {delivery.delivery_id}", err=True
            )
            return False
        self._shown.say(f"{where}: not delivered ({sent.code}): {options.name(sent.reason or '')}", err=True)
        for line in self._what_next(sent):
            self._shown.say(f"  {options.printable(line)}", err=True)
        return False

    def _what_next(self, sent: "Sent") -> "Iterator[str]":
        """Yield what to do about a delivery that did not arrive, and who tries it again."""
        from lorawatch.domain.model import DeliveryState
        from lorawatch.journal import views
        from lorawatch.status_report import cure

        delivery = sent.delivery
        with self._journal.read() as connection:
            known = {each.name: each for each in views.destinations(connection)}
        place, path = known.get(delivery.destination), delivery.artifact.path
        if advice := sent.fix or cure(sent.code, place, path=path, number=delivery.delivery_id):
            yield f"what to do: {advice}"
        again = f"lorawatch retry {delivery.delivery_id}"
        if delivery.state is DeliveryState.WAITING:
            yield f"{self._who()} it; by hand: {again}"
        elif again not in (advice or ""):
            yield f"it is not tried again by itself; then: {again}"

    def _who(self) -> str:
        from lorawatch.journal.lock import is_locked

        if is_locked(self._config.state_directory):
            return "the running daemon goes on with"
        return "the next `lorawatch run` or `lorawatch once` goes on with"
