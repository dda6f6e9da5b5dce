"""Where the parts of the service lie, and the unit files that come with the package. Read by this room only."""

import os

from lorawatch.packaged import packaged

UNIT = "lorawatch.service"
SYSTEM_UNITS = "/etc/systemd/system"
UNIT_FILE = f"{SYSTEM_UNITS}/{UNIT}"
DROP_INS = f"{UNIT_FILE}.d"

# What `install` writes beside the unit. A person's own drop-in comes later: `systemctl edit` writes override.conf.
SITE = f"{DROP_INS}/10-site.conf"
USER = f"{DROP_INS}/20-user.conf"
PRIVATE_FILES = f"{DROP_INS}/30-private-files.conf"
BACKOFF = f"{DROP_INS}/40-backoff.conf"

SERVICE_USER = "lorawatch"
# The comment in /etc/passwd of a user that an installation made: only such a one goes with a purge.
MADE = "made by lorawatch service install"
MADE_WITH_GROUP = f"{MADE} with its group"
CONFIGURATION = "/etc/lorawatch"
CONFIG_FILE = f"{CONFIGURATION}/config.toml"
CREDENTIALS = f"{CONFIGURATION}/credentials"
STATE = "/var/lib/lorawatch"
LOGS = "/var/log/lorawatch"
PROGRAM = "/opt/lorawatch"
PROGRAM_COMMAND = f"{PROGRAM}/bin/lorawatch"  # what the unit runs, unless the site's drop-in says otherwise


def unit_text() -> str:
    """Return the unit, as it is installed."""
    return packaged("systemd").joinpath(UNIT).read_text("utf-8")


def drop_in_text(path: str) -> str:
    """Return the text of a drop-in that is the same on every machine."""
    return packaged("systemd").joinpath("drop-ins", os.path.basename(path)).read_text("utf-8")
