"""systemd: is the service installed, does it run, with this configuration and its tokens, does its sandbox let it."""

import os
import re
import shlex
from collections.abc import Iterator, Sequence

from lorawatch.config import Config
from lorawatch.doctor.findings import Finding, error, fine, warning
from lorawatch.doctor.worker import Worker, name_of
from lorawatch.domain.errors import LorawatchError
from lorawatch.service_unit import manager, places
from lorawatch.service_unit.survey import is_systemd_running

CHECK = "systemd"
_INSTALL = "sudo lorawatch service install"
_USER_UNIT = ".config/systemd/user/lorawatch.service"
_LINGER = "/var/lib/systemd/linger"
_PROPERTIES = ("ActiveState", "SubState", "UnitFileState", "Result", "ExecStart", "NeedDaemonReload")


def look(config: Config | None, file: str | None, worker: Worker) -> Iterator[Finding]:
    """Look at the service. Asks systemd, and changes nothing."""
    yield from _of_user()
    if not os.path.exists(places.UNIT_FILE):
        how = "" if is_systemd_running() else "; this machine was not booted with systemd"
        yield fine(CHECK, f"no service is installed{how} (with systemd: {_INSTALL})")
        return
    yield from _files(config, file)
    if is_systemd_running():
        yield from _state(file)
    if worker.pid is not None and config is not None:
        yield from _sandbox(config, worker)


def _state(file: str | None) -> Iterator[Finding]:
    try:
        found = manager.properties(places.UNIT, _PROPERTIES)
    except LorawatchError as raised:
        yield warning(CHECK, raised.message, fix=raised.fix)
        return
    active, enabled = found.get("ActiveState", ""), found.get("UnitFileState", "")
    if active == "failed":
        detail = f"the service has failed ({found.get('Result')})"
        yield error(CHECK, detail, fix="journalctl -u lorawatch -n 30\nthen: sudo systemctl restart lorawatch")
    elif active not in {"active", "reloading", "activating"}:
        yield warning(CHECK, f"the service is installed, and {active}", fix="sudo systemctl start lorawatch")
    elif enabled not in {"enabled", "enabled-runtime", "static"}:
        yield warning(CHECK, f"the service runs, but is {enabled} at boot", fix="sudo systemctl enable lorawatch")
    else:
        yield fine(CHECK, f"the service is {active} ({found.get('SubState')}), {enabled} at boot")
    if found.get("NeedDaemonReload") == "yes":
        yield warning(CHECK, "the unit was changed, and systemd has not read it", fix="sudo systemctl daemon-reload")
    used = re.search(r"--config (\S+)", found.get("ExecStart", ""))
    if used and file is not None and used[1] != file:
        yield warning(
            CHECK,
            f"the service uses {used[1]}, and what is checked here is {file}",
            fix=f"check that one: sudo lorawatch doctor --config {shlex.quote(used[1])}",
        )


def _files(config: Config | None, file: str | None) -> Iterator[Finding]:
    """Compare what is installed with this version, and with the configuration."""
    unit, site = _text(places.UNIT_FILE), _text(places.SITE)
    if unit is not None and unit != places.unit_text():
        yield warning(CHECK, f"{places.UNIT_FILE} is of another version of lorawatch, or was edited", fix=_INSTALL)
    if config is None or site is None or file != places.CONFIG_FILE:
        return
    wanted = [*config.watch.directories]
    wanted += [each.directory for each in config.destinations if each.enabled and each.kind == "directory"]
    lacking = [path for path in wanted if path.replace("%", "%%") not in site]
    if lacking:
        yield error(CHECK, f"the sandbox does not know {', '.join(lacking)} yet", fix=_INSTALL)
    yield from _credentials(config, site)


def _credentials(config: Config, site: str) -> Iterator[Finding]:
    loaded = re.findall(r"^LoadCredential=([^:\s]+):(\S+)$", site, re.MULTILINE)
    for _, path in loaded:
        if os.access(os.path.dirname(path), os.X_OK) and not os.path.exists(path):
            fix = f"write the token into it, or: {_INSTALL}"
            yield error(CHECK, f"the token {path} is gone: the service would not start (243/CREDENTIALS)", fix=fix)
    names = {each.name for each in (*config.destinations, *config.sources) if each.enabled}
    for name in sorted(names - {name for name, _ in loaded}):
        if os.path.isfile(os.path.join(places.CREDENTIALS, name)):
            yield warning(CHECK, f"the token for {name} lies there, but the unit does not load it", fix=_INSTALL)


def _sandbox(config: Config, worker: Worker) -> Iterator[Finding]:
    """Look through the eyes of the running daemon: what its sandbox hides, or makes read-only, no mode tells."""
    check, view = "sandbox", f"/proc/{worker.pid}/root"
    written = [each.directory for each in config.destinations if each.enabled and each.kind == "directory"]
    try:
        hidden = list(_hidden((*config.watch.directories, *written), view))
        frozen = [path for path in written if path not in hidden and _is_read_only(view + path, path)]
    except PermissionError:
        return  # only root, and the daemon's own user, may look
    if hidden or frozen:
        said = [f"{path} is hidden from the running lorawatch" for path in hidden]
        said += [f"{path} is read-only for the running lorawatch" for path in frozen]
        yield error(check, "; ".join(said), fix=_INSTALL if worker.is_service else "restart lorawatch")
    else:
        yield fine(check, "the running lorawatch sees every directory as it should")


def _hidden(paths: Sequence[str], view: str) -> Iterator[str]:
    os.stat(f"{view}/")  # may we look at all
    yield from (path for path in paths if os.path.isdir(path) and not os.path.isdir(view + path))


def _is_read_only(seen: str, path: str) -> bool:
    """Return whether a directory is mounted read-only in one view, and not in ours."""
    try:
        return bool(os.statvfs(seen).f_flag & os.ST_RDONLY) and not os.statvfs(path).f_flag & os.ST_RDONLY
    except FileNotFoundError:
        return False


def _of_user() -> Iterator[Finding]:
    """Look at a unit of the user's own manager: without lingering it ends with the last session."""
    if not os.path.exists(os.path.join(os.path.expanduser("~"), _USER_UNIT)):
        return
    user = name_of(os.geteuid())
    if os.path.exists(os.path.join(_LINGER, user)):
        yield fine(CHECK, f"~/{_USER_UNIT} runs also while {user} is not logged in (lingering)")
    else:
        yield warning(CHECK, f"~/{_USER_UNIT} ends when {user} logs out", fix=f"sudo loginctl enable-linger {user}")


def _text(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except OSError:
        return None
