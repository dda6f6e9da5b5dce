"""lorawatch as the service of a machine: installed through the README, watched through its journal."""

import base64
import json
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import dropwhile, takewhile
from typing import Any

from tests.system.nspawn import PATIENCE_SECONDS, PROJECT, WHEELS, Machine, eventually

OUTPUTS = "/ai-toolkit/outputs"
LORAS = "/comfyui/models/loras"
CONFIGURATION = "/etc/lorawatch/config.toml"
PROGRAM = "/opt/lorawatch/bin/lorawatch"
TRAINER = "trainer"
PERSON = "ann"  # who follows the README: no root, but allowed to use sudo
CHECKOUT = f"/home/{PERSON}/lorawatch"
DROP_INS = "/etc/systemd/system/lorawatch.service.d"

Entry = dict[str, Any]  # Any: journalctl's JSON


def readme_section() -> str:
    """Return the README's section on the service."""
    return (PROJECT / "README.md").read_text().partition("\n## Run it as a service\n")[2].partition("\n## ")[0]


def readme_block() -> list[str]:
    """Return the lines with which the README begins: the last one is `service install`."""
    lines = dropwhile(lambda line: not line.startswith("    "), readme_section().splitlines())
    return [line.strip() for line in takewhile(str.strip, lines)]


def prepare(machine: Machine) -> None:
    """Make the people and the checkout; there is no network, so pip takes what was downloaded before."""
    for person in (TRAINER, PERSON):
        machine.run("useradd", "--create-home", "--shell", "/bin/bash", person)
    machine.run("tee", "/etc/sudoers.d/person", stdin=f"{PERSON} ALL=(ALL) NOPASSWD: ALL\n".encode())
    offline = f"[global]\nno-index = true\nfind-links = {WHEELS}\ndisable-pip-version-check = true\n"
    machine.run("tee", "/etc/pip.conf", stdin=offline.encode())
    strange = shutil.ignore_patterns(".*", "__pycache__", "dist")
    shutil.copytree(PROJECT, machine.path(CHECKOUT), ignore=strange)
    machine.run("chown", "-R", f"{PERSON}:", f"/home/{PERSON}")


def as_readme(
    machine: Machine,
    line: str,
    *,
    environ: Sequence[str] = (),
    through: Sequence[str] = ("bash", "-euc"),
    check: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run a line as the README has it, as a person with sudo, in the checkout."""
    assert line in readme_section(), f"not in the README: {line}"
    words = ("runuser", "-u", PERSON, "--", "env", f"HOME=/home/{PERSON}", f"USER={PERSON}", *environ)
    return machine.run(*words, *through, line, cwd=CHECKOUT, check=check)


@dataclass
class Serving:
    """The service of one test. Every event it is asked for was said after it was made."""

    machine: Machine
    began_at: float = field(default_factory=time.time)

    def install(self, *options: str) -> str:
        """Install, or install again; return what it said."""
        return self.machine.run(PROGRAM, "service", "install", *options).stdout

    def configure(self, text: str) -> None:
        """Write the configuration file."""
        self.machine.run("mkdir", "-p", "/etc/lorawatch")
        self.machine.run("tee", CONFIGURATION, stdin=text.encode())

    def drop_in(self, text: str) -> None:
        """Write a drop-in as a person would with `systemctl edit`."""
        self.machine.run("mkdir", "-p", DROP_INS)
        self.machine.run("tee", f"{DROP_INS}/override.conf", stdin=text.encode())
        self.machine.run("systemctl", "daemon-reload")

    def save(self, path: str, content: bytes, *, owner: str = TRAINER, mode: str = "0644") -> None:
        """Save a file as a trainer does: in full, with its mode, renamed to its name."""
        words = 'umask 022; mkdir -p "$1"; umask 077; cat > "$1/.tmp"; chmod "$3" "$1/.tmp"; chown "$4": "$1/.tmp"'
        words += '; mv "$1/.tmp" "$1/$2"'
        self.machine.run("sh", "-euc", words, "save", *os.path.split(path), mode, owner, stdin=content)

    def entries(self, event: str = "", **fields: str) -> list[Entry]:
        """Return the journal's entries of the unit, or those of one event with these fields."""
        wanted = {"LORAWATCH_EVENT": event} if event else {}
        wanted |= {f"LORAWATCH_{name.upper()}": value for name, value in fields.items()}
        said = self.machine.run("journalctl", "-u", "lorawatch", "-o", "json", f"--since=@{int(self.began_at)}").stdout
        entries: list[Entry] = [json.loads(line) for line in said.splitlines()]
        return [
            each
            for each in entries
            if int(each["__REALTIME_TIMESTAMP"]) >= self.began_at * 1e6
            and all(each.get(name) == value for name, value in wanted.items())
        ]

    def wait_for(self, event: str, *, count: int = 1, timeout: float = PATIENCE_SECONDS, **fields: str) -> Entry:
        """Return the `count`th such entry, once it is there."""

        def failure() -> str:
            return f"no {event} {fields} within {timeout} s:\n{self.story()}"

        found = eventually(lambda: self.entries(event, **fields)[count - 1 :], failure, timeout=timeout)
        return found[0]

    def wait_for_state(self, state: str, *, timeout: float = PATIENCE_SECONDS) -> None:
        def failure() -> str:
            return f"not {state} within {timeout} s but {self.property('ActiveState')}:\n{self.story()}"

        eventually(lambda: self.property("ActiveState") == state, failure, timeout=timeout)

    def property(self, name: str) -> str:
        return self.machine.run("systemctl", "show", "--value", f"--property={name}", "lorawatch").stdout.strip()

    def story(self) -> str:
        """Return everything the journal has about the unit, for a failing test."""
        return "\n".join(f"{each.get('LORAWATCH_EVENT', '-')}: {each['MESSAGE']}" for each in self.entries())

    def systemctl(self, *words: str) -> None:
        self.machine.run("systemctl", *words, "lorawatch")

    def names(self, directory: str = LORAS) -> set[str]:
        """Return the relative name of every file below a directory, of hidden ones too."""
        return set(self.machine.run("find", directory, "-type", "f", "-printf", "%P\\n").stdout.splitlines())

    def contents(self, directory: str = LORAS) -> dict[str, bytes]:
        """Return every file below a directory at rest, hidden ones too, by relative name."""
        return {name: self.read(f"{directory}/{name}") for name in self.names(directory)}

    def read(self, path: str) -> bytes:
        return base64.b64decode(self.machine.run("base64", path).stdout)


def configuration(*, outputs: str = OUTPUTS, tables: str = "", watch: str = "") -> str:
    """Return a configuration whose retries are quick and that does not ask for 5 GB of room."""
    return (
        f'[watch]\ndirectories = ["{outputs}"]\n{watch}\n'
        f"[retry]\nfirst_seconds = 0.2\nmax_seconds = 1\n{tables or destination('comfyui', LORAS)}"
    )


def destination(name: str, directory: str, lines: str = "") -> str:
    head = f'[[destinations]]\nname = "{name}"\nkind = "directory"\ndirectory = "{directory}"\n'
    return f"{head}min_free_bytes = 0\n{lines}\n"


def render_box(url: str) -> str:
    """Return a configuration with a server as its only destination, which gets everything in small chunks."""
    table = f'[[destinations]]\nname = "render-box"\nkind = "comfyui-mcp"\nurl = "{url}"\n'
    chunks = "direct_limit_bytes = 0\nchunk_bytes = 65536\n"
    return 'state_directory = "/var/lib/lorawatch"\n' + configuration(tables=table) + chunks
