"""The plan of an installation and of its removal. Pure: from a site to steps, in the order in which they are done."""

from collections.abc import Iterator

from lorawatch.service_unit import places, rendering
from lorawatch.service_unit.site import Site, is_below
from lorawatch.service_unit.steps import CopyProgram, MakeDirectory, Remove, RunCommand, Step, WriteFile


def installation(site: Site) -> list[Step]:
    """Return everything up to the check of permissions; `start` follows it. Doing it again changes nothing."""
    return [*_user(site), *_configuration(site), *_program(site), *_units(site)]


def start(*, is_outdated: bool) -> list[Step]:
    """Return what enables and starts the service; one that runs is restarted when it is outdated."""
    return [
        RunCommand(("systemctl", "enable", places.UNIT)),
        RunCommand(("systemctl", "restart" if is_outdated else "start", places.UNIT), is_said=is_outdated),
    ]


def removal(*, is_purged: bool, is_user_ours: bool, is_group_ours: bool, is_program_ours: bool) -> list[Step]:
    """Return what removes the service; state, configuration and user stay unless `is_purged`.

    What was not made by an installation stays in any case.
    """
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
        # userdel leaves the group when others have joined it, and removes it otherwise.
        steps += [RunCommand(("groupdel", places.SERVICE_USER), may_fail=True)] if is_group_ours else []
    return steps


def _user(site: Site) -> Iterator[Step]:
    if not site.is_user_there:
        group = ("--gid", site.group) if site.is_group_there else ("--user-group",)
        words = ("--system", *group, "--no-create-home", "--home-dir", places.STATE, "--shell", "/usr/sbin/nologin")
        comment = places.MADE if site.is_group_there else places.MADE_WITH_GROUP
        yield RunCommand(("useradd", *words, "--comment", comment, site.user), is_said=True)


def _configuration(site: Site) -> Iterator[Step]:
    yield MakeDirectory(places.CONFIGURATION)
    yield MakeDirectory(places.CREDENTIALS, mode=0o700)
    # A token may stand in it: for root and the service's group only.
    yield WriteFile(places.CONFIG_FILE, site.config_text, mode=0o640, group=site.group)
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
