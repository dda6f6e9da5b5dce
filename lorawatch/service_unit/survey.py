"""Look at the machine: which user, groups, tokens, program and systemd there are. It changes nothing.

`service` calls it, on the main thread. What a person chose at an earlier installation (user, private files) is kept
until the command line says otherwise, so that a second `service install` only adds what is new.
"""

import grp
import os
import pwd
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from lorawatch.config import Config
from lorawatch.domain.errors import LorawatchError
from lorawatch.service_unit import configuration, places, program
from lorawatch.service_unit.site import Site, is_below
from lorawatch.transport.process import run

_BACKOFF_SINCE = 254  # the first version that knows RestartSteps=


@dataclass(frozen=True, slots=True)
class Request:
    """What the person asks for; None: as at the last installation."""

    wish: configuration.Wish
    user: str | None = None
    reads_private_files: bool | None = None


def survey(request: Request) -> Site:
    """Return the site. Raises ConfigurationError and LorawatchError."""
    config, text = configuration.choose(request.wish)
    user = request.user or installed_user()
    is_copied = not program.is_open_to_all()
    account = _account(user)
    group = places.SERVICE_USER if account is None else grp.getgrgid(account.pw_gid).gr_name
    is_private = request.reads_private_files
    site = Site(
        config=config,
        config_text=text,
        user=user,
        group=group,
        is_user_there=account is not None,
        is_group_there=_has_group(group),
        groups=(),
        credentials=tuple(_credentials(config)),
        command=places.PROGRAM_COMMAND if is_copied else program.command(),
        is_program_copied=is_copied,
        is_home_needed=False,
        is_tmp_needed=False,
        reads_private_files=os.path.exists(places.PRIVATE_FILES) if is_private is None else is_private,
        knows_backoff=systemd_version() >= _BACKOFF_SINCE,
    )
    return _with_directories(site)


def systemd_version() -> int:
    """Return the version of systemd; 0 if there is none."""
    found = re.match(r"systemd (\d+)", run(["systemctl", "--version"]).stdout)
    return int(found[1]) if found else 0


def made_user_and_group() -> tuple[bool, bool]:
    """Return whether the service's user, and whether its group too, was made by an installation."""
    try:
        comment = pwd.getpwnam(places.SERVICE_USER).pw_gecos
    except KeyError:
        return False, False
    return comment in {places.MADE, places.MADE_WITH_GROUP}, comment == places.MADE_WITH_GROUP


def is_systemd_running() -> bool:
    """Return whether this machine was booted with systemd (sd_booted(3))."""
    return os.path.isdir("/run/systemd/system")


def _with_directories(site: Site) -> Site:
    """Return the site with what its directories need."""
    reached = (*site.read_directories, *site.written_directories, *_docker_sockets(site.config))
    paths = [os.path.realpath(path) for path in reached]
    return replace(
        site,
        groups=tuple(dict.fromkeys(_groups(site))),
        is_home_needed=any(is_below(path, *program.HIDDEN_HOMES) for path in paths),
        is_tmp_needed=any(is_below(path, *program.HIDDEN_TEMPORARY) for path in paths),
    )


def _groups(site: Site) -> Iterator[str]:
    """Yield the groups that open a directory, or that delivered files are to get. Never root's."""
    for path, wanted in (
        *((path, stat.S_IRGRP | stat.S_IXGRP) for path in site.read_directories),
        *((path, stat.S_IWGRP) for path in site.destination_directories),
    ):
        try:
            status = os.stat(path)
            name = grp.getgrgid(status.st_gid).gr_name
        except (OSError, KeyError):
            continue  # not there yet, or a group without a name: the check of permissions says what that means
        if status.st_gid != 0 and status.st_mode & wanted == wanted and name != site.group:
            yield name
    for socket in _docker_sockets(site.config):
        try:
            gid = os.stat(socket).st_gid
            if gid != 0 and (name := grp.getgrgid(gid).gr_name) != site.group:
                yield name
        except (OSError, KeyError):  # Docker makes it when it starts, for this group
            if _has_group("docker"):
                yield "docker"


def _docker_sockets(config: Config) -> Iterator[str]:
    """Yield the sockets of this machine through which containers are reached."""
    for each in config.destinations:
        if each.enabled and each.kind == "docker":
            scheme, _, path = (each.docker_host or "unix:///var/run/docker.sock").partition("://")
            if scheme == "unix":
                yield path


def _has_group(name: str) -> bool:
    return any(each.gr_name == name for each in grp.getgrall())


def _credentials(config: Config) -> Iterator[str]:
    names: Iterable[str] = (each.name for each in (*config.destinations, *config.sources) if each.enabled)
    return (name for name in names if os.path.isfile(os.path.join(places.CREDENTIALS, name)))


def installed_user() -> str:
    """Return as whom the service of the last installation runs; its own user if there was none."""
    try:
        with open(places.USER, encoding="utf-8") as file:
            found = re.search(r"^User=(\S+)$", file.read(), re.MULTILINE)
    except OSError:
        return places.SERVICE_USER
    return found[1] if found else places.SERVICE_USER


def _account(user: str) -> pwd.struct_passwd | None:
    """Return the user's entry; None for the service's own user, who is made."""
    try:
        return pwd.getpwnam(user)
    except KeyError:
        if user == places.SERVICE_USER:
            return None
        fix = "name the user who owns the LoRAs: ls -l shows it"
        raise LorawatchError(f"there is no user {user} on this machine", fix=fix) from None
