"""The plan of an installation and of its removal. Pure: from a site to steps, in the order in which they are done."""

from collections.abc import Iterator

from lorawatch.service_unit import places, rendering
from lorawatch.service_unit.site import Site, is_below
from lorawatch.service_unit.steps import CopyProgram, MakeDirectory, Remove, RunCommand, Step, WriteFile


def installation(site: Site) -> list[Step]:
    """Return everything up to the check of permissions; `start` follows it. Doing it again changes nothing."""
    return [*_user(site), *_configuration(site), *_program(site), *_units(site)]


def start(*, has_changed: bool) -> list[Step]:
    """Return what enables and starts the service; a running one is restarted only when something has changed."""
    return [
        RunCommand(("systemctl", "enable", places.UNIT)),
        RunCommand(("systemctl", "restart" if has_changed else "start", places.UNIT)),
    ]


def removal(*, is_purged: bool, is_user_ours: bool, is_program_ours: bool) -> list[Step]:
    """Return what removes the service; state, configuration and user stay unless `is_purged`."""
    steps: list[Step] = [
        RunCommand(("systemctl", "disable", "--now", places.UNIT), may_fail=True),
        *(Remove(path) for path in (places.SITE, places.USER, places.PRIVATE_FILES, places.BACKOFF)),
        Remove(places.DROP_INS),
        Remove(places.UNIT_FILE),
        RunCommand(("systemctl", "daemon-reload")),
        RunCommand(("systemctl", "reset-failed", places.UNIT), may_fail=True),
    ]
    if is_purged:
        trees = [places.CONFIGURATION, places.STATE, places.LOGS]
        steps += [Remove(path, is_tree=True) for path in [*trees, *([places.PROGRAM] if is_program_ours else [])]]
        steps += [RunCommand(("userdel", places.SERVICE_USER), may_fail=True)] if is_user_ours else []
    return steps


def _user(site: Site) -> Iterator[Step]:
    if not site.is_user_there:
        words = ("--system", "--user-group", "--no-create-home", "--home-dir", places.STATE)
        yield RunCommand(("useradd", *words, "--shell", "/usr/sbin/nologin", site.user), is_change=True)


def _configuration(site: Site) -> Iterator[Step]:
    yield MakeDirectory(places.CONFIGURATION)
    yield MakeDirectory(places.CREDENTIALS, mode=0o700)
    # A token may stand in it: for root and the service's group only.
    yield WriteFile(f"{places.CONFIGURATION}/config.toml", site.config_text, mode=0o640, group=site.group)
    if not is_below(site.config.state_directory, places.STATE):
        yield MakeDirectory(site.config.state_directory, mode=0o750, owner=site.user, group=site.group)


def _program(site: Site) -> Iterator[Step]:
    if site.is_program_copied:
        yield CopyProgram(places.PROGRAM)


def _units(site: Site) -> Iterator[Step]:
    yield WriteFile(places.UNIT_FILE, places.unit_text())
    yield MakeDirectory(places.DROP_INS)
    yield WriteFile(places.SITE, rendering.site_text(site))
    is_other_user = site.user != places.SERVICE_USER
    yield WriteFile(places.USER, rendering.user_text(site)) if is_other_user else Remove(places.USER)
    yield _shipped(places.PRIVATE_FILES, is_wanted=site.reads_private_files)
    yield _shipped(places.BACKOFF, is_wanted=site.knows_backoff)
    yield RunCommand(("systemctl", "daemon-reload"))


def _shipped(path: str, *, is_wanted: bool) -> Step:
    return WriteFile(path, places.drop_in_text(path)) if is_wanted else Remove(path)
