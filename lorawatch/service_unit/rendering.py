"""The drop-ins that depend on the machine, as text. Pure; planning.py calls it."""

from collections.abc import Iterator

from lorawatch.domain.errors import ConfigurationError
from lorawatch.service_unit import places
from lorawatch.service_unit.site import Site

_DOCKER = "docker"


def site_text(site: Site) -> str:
    """Return the drop-in with paths, groups, tokens and program. Raises ConfigurationError for an unwritable path."""
    return "\n".join(_site_lines(site)) + "\n"


def user_text(site: Site) -> str:
    """Return the drop-in that runs the service as another user than `lorawatch`."""
    return (
        "# Written by `lorawatch service install --user`. With another user: --user lorawatch\n"
        f"[Service]\nUser={site.user}\nGroup={site.group}\n"
    )


def quoted(path: str) -> str:
    """Return a path as a word of a unit file: `%` is doubled, spaces are quoted (systemd.syntax(7)).

    Lists of paths know no escapes, so a path with a line break or with both kinds of quotes cannot be written.
    """
    word = path.replace("%", "%%")
    is_plain = not any(character in word for character in " \t\"'")
    mark = "" if is_plain else "'" if '"' in word else '"'
    if "\n" in word or (mark and mark in word):
        problem = (path, "cannot be written into a systemd unit", "Choose a path without line breaks and quotes")
        raise ConfigurationError([problem])
    return f"{mark}{word}{mark}"


def _site_lines(site: Site) -> Iterator[str]:
    yield "# Written by `lorawatch service install` from /etc/lorawatch/config.toml. Run it again when a directory, a"
    yield "# destination or a token is added; for changes of your own use `systemctl edit lorawatch`."
    yield "[Service]"
    yield "# Read, and never written. - : a disk that is not mounted yet does not keep the service from starting."
    yield from (f"ReadOnlyPaths={quoted(f'-{path}')}" for path in site.read_directories)
    yield "# Written."
    yield from (f"ReadWritePaths={quoted(f'-{path}')}" for path in site.written_directories)
    yield from _relaxed(site)
    if site.groups:
        yield "# The groups of these directories" + (
            ", and docker: that equals root access." if _DOCKER in site.groups else "."
        )
        yield f"SupplementaryGroups={' '.join(site.groups)}"
    if site.credentials:
        yield "# Tokens, one line for each file that is there: a missing one would stop the unit."
        yield from (f"LoadCredential={name}:{places.CREDENTIALS}/{name}" for name in site.credentials)
    if site.command != places.PROGRAM_COMMAND:
        yield "# Where the program is."
        yield "ExecStart="
        yield f"ExecStart={site.command} run --config {places.CONFIG_FILE}"


def _relaxed(site: Site) -> Iterator[str]:
    if site.is_home_needed:
        yield "# Some of them lie in a home directory: visible, but read-only apart from the lines above."
        yield "ProtectHome=read-only"
    if site.is_tmp_needed:
        yield "# Some of them lie in the common /tmp."
        yield "PrivateTmp=no"
