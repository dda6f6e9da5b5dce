"""The process around a service: lock, journal, signals, heartbeat, reload. Used by `run`, `once` and `demo`.

It runs on the main thread, wakes once a second, and never blocks for longer than a drain.
"""

import ctypes
import os
import sys
import time
from collections.abc import Callable
from typing import Self

from lorawatch import __version__, events
from lorawatch.app import build_service
from lorawatch.config import Config, changes_needing_restart
from lorawatch.config_loading import Loaded
from lorawatch.domain.errors import ConfigurationError, JournalError
from lorawatch.engine.service import Service
from lorawatch.engine.tally import Tally
from lorawatch.events import Event, emit
from lorawatch.journal import upkeep, views
from lorawatch.journal.database import Database
from lorawatch.journal.lock import StateLock
from lorawatch.notify import Notifier
from lorawatch.signals import Signals

_M_ARENA_MAX = -8  # malloc.h
TICK_SECONDS = 1.0
STARTING_TICK_SECONDS = 0.1  # how soon a signal is heeded until everything is listed; the listing wants the processor
ONCE_TICK_SECONDS = 0.02
DRAIN_TICK_SECONDS = 0.05
DRAIN_SECONDS = 30.0  # a reload waits so long for what is being carried; then it is interrupted and goes on after
# `once` gives a file that nobody vouches for its quiet time, and this much to look at it again.
SETTLING_GRACE_SECONDS = 1.0


class Daemon:
    """Lock, journal and the running service, as a context manager; the main thread owns it."""

    def __init__(
        self, loaded: Loaded, *, signals: Signals | None = None, reload: Callable[[], Loaded] | None = None
    ) -> None:
        self.tally = Tally()
        self.notifier = Notifier()
        self._loaded = loaded
        self._signals = signals or Signals()
        self._reload = reload
        self._lock = StateLock(loaded.config.state_directory)
        self._journal: Database | None = None
        self._service: Service | None = None

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._loaded.config

    @property
    def journal(self) -> Database:
        """The open journal."""
        if self._journal is None:
            msg = "the daemon has not been entered"
            raise RuntimeError(msg)
        return self._journal

    @property
    def service(self) -> Service:
        """The running service."""
        if self._service is None:
            msg = "no service has been started"
            raise RuntimeError(msg)
        return self._service

    def __enter__(self) -> Self:
        self._lock.acquire()
        try:
            self._journal = Database.open(self.config.state_directory)
        except BaseException:
            self._lock.release()
            raise
        emit(
            Event.DAEMON_STARTING,
            version=__version__,
            config_file=self._loaded.file,
            state_directory=self.config.state_directory,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def start(self) -> None:
        """Start the service of the present configuration."""
        _share_memory()
        self._service = build_service(self.config, self.journal, self.tally)
        if self.notifier.watchdog_interval_seconds is not None:  # the unit says how long a hang may last
            self._service.stuck_seconds = self.notifier.watchdog_interval_seconds
        self._service.start()

    def run(self) -> None:
        """Work until a signal says stop."""
        self.start()
        is_ready = False
        while not self._signals.is_stopping:
            if not is_ready and self.service.is_ready:
                is_ready = True
                self._say_ready()
            self._supervise()
            if is_ready:
                self.notifier.status(self.service.summary())
            if self._signals.take_reload() and self._take_reload():
                is_ready = False
            if is_ready:
                self._signals.wait(TICK_SECONDS)
            else:
                self.service.wait_until_ready(STARTING_TICK_SECONDS)
        self.stop()

    def run_once(self, on_tick: Callable[[Database], None] = lambda _: None) -> int:
        """Work until everything due is settled; return how many directories, files and deliveries need attention.

        `on_tick` is called on this thread some fifty times a second, to show how far everything is.

        Raises JournalError: a single pass does not wait for a disk to have room again.
        """
        self.start()
        last_supervised = 0.0
        while not self._signals.is_stopping and self.journal.trouble is None and not self._is_done():
            if time.monotonic() - last_supervised > TICK_SECONDS:
                last_supervised = time.monotonic()
                self.service.supervise()
            on_tick(self.journal)
            self._signals.wait(ONCE_TICK_SECONDS)
        missing = sum(not intake.is_root_trusted for intake in self.service.intakes)
        unsettled = sum(len(intake.pending_seconds()) for intake in self.service.intakes)
        with self.journal.read() as connection:
            names = [route.destination_id for route in self.service.routes]
            open_count = views.open_count(connection, names)
        trouble = self.journal.trouble
        self.stop()
        if trouble is not None:
            raise trouble
        return missing + open_count + max(unsettled, self.tally["unreadable"]) + self.tally["rejected"]

    def stop(self) -> None:
        """Stop the service within its grace time; leave hung threads to the end of the process."""
        started = time.monotonic()
        self.notifier.stopping()
        emit(Event.DAEMON_STOPPING, reason="signal" if self._signals.is_stopping else "done")
        is_clean = self.service.stop()
        try:
            with self.journal.write() as connection:
                upkeep.release(connection, owner_prefix=self.service.process, now=time.time())
        except JournalError:
            pass  # the next start frees the claims of every process before it
        emit(Event.DAEMON_STOPPED, seconds=time.monotonic() - started)
        if not is_clean:
            # A thread in an uninterruptible call would keep the interpreter from ending; all state is on disk.
            sys.stdout.flush()
            os._exit(0)
        self.journal.close()

    def _is_done(self) -> bool:
        service = self.service
        patience = self.config.watch.quiet_seconds + SETTLING_GRACE_SECONDS
        for intake in service.intakes:
            if not intake.is_ready.is_set() or not intake.is_queue_empty:
                return False
            if any(age < patience for age in intake.pending_seconds()):
                return False
        return not service.is_anything_due()

    def _supervise(self) -> None:
        """Supervise the service, and tell the unit's watchdog if all is well."""
        if self.service.supervise():
            self.notifier.watchdog()

    def _say_ready(self) -> None:
        self.notifier.ready()
        emit(
            Event.DAEMON_READY,
            directories=[intake.root for intake in self.service.intakes],
            destinations=[route.name for route in self.service.routes],
        )

    def _take_reload(self) -> bool:
        """Reload the configuration; return whether another service runs since.

        A bad one changes nothing and says so. A stop that comes meanwhile goes before.
        """
        self.notifier.reloading()
        try:
            loaded = self._reload() if self._reload is not None else self._loaded
            _refuse_restart(self.config, loaded)
        except ConfigurationError as error:
            emit(Event.DAEMON_DEGRADED, code=error.code, reason=f"kept the old configuration: {error.message}")
            self.notifier.ready()
            return False
        self._drain()
        if not self._signals.is_stopping:
            self.service.stop()
        if self._signals.is_stopping:
            return False
        self._loaded = loaded
        log = self.config.log
        events.configure(format=log.format, level=log.level, file=log.file, environ=os.environ)
        self.start()
        emit(Event.DAEMON_RELOADED, config_file=loaded.file)
        return True

    def _drain(self) -> None:
        """Let the service finish what it carries, within its time, unless the daemon is to stop."""
        deadline = time.monotonic() + DRAIN_SECONDS
        self.service.drain()
        while self.service.is_carrying and not self._signals.is_stopping and time.monotonic() < deadline:
            self._supervise()
            self._signals.wait(DRAIN_TICK_SECONDS)


def _share_memory() -> None:
    """Have the threads share two of glibc's memory pools: of its own each would give nothing back (measured: 2 MB)."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # another C library may have none, and then needs none
        libc.mallopt(_M_ARENA_MAX, 2)


def _refuse_restart(old: Config, new: Loaded) -> None:
    """Refuse changes that a reload cannot make."""
    needing = changes_needing_restart(old, new.config)
    if needing:
        wrong = "cannot change while the daemon runs"
        raise ConfigurationError([(path, wrong, "restart lorawatch") for path in needing], file=new.file)
