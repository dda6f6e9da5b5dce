"""What a start costs: with 100,000 files that are known already, and for a mere `--help`."""

import os
import shutil
import sys
import time
from pathlib import Path

from lorawatch.cli.program import program
from tests.benchmarks.daemon import COMMAND, Lorawatch, seconds_of
from tests.benchmarks.measuring import Report, Sample, Settings, ratio, settle, wait_until
from tests.factories import Tensor, lora_bytes

FILES_PER_DIRECTORY = 1000
MODULE = "transformer.transformer_blocks.0.attn.to_q"
TINY_LORA = {f"{MODULE}.lora_A.weight": Tensor("BF16", (1, 64)), f"{MODULE}.lora_B.weight": Tensor("BF16", (64, 1))}
EMPTY_COMMAND = '''

@program.command()
def command_{number}() -> None:
    """Do nothing."""
'''


def measure_start(directory: str, settings: Settings) -> Report:
    """From exec to `daemon.ready` with every file known, against scandir and stat of the same tree."""
    watched, empty = os.path.join(directory, "watched"), os.path.join(directory, "empty")
    os.makedirs(empty)
    count = _write_tree(watched, settings.known_files)
    daemon = _daemon(directory, "known", watched)
    daemon.start()
    daemon.wait_for("daemon.ready")
    daemon.stop()
    bare_daemon = _daemon(directory, "nothing", empty)
    bare, nothing, known = Sample(), Sample(), Sample()
    delivered = 0
    read = {"nothing": 0, "known": 0}
    for _ in range(settings.rounds):
        settle()
        bare.seconds.append(_scan(watched, count))
        nothing.seconds.append(_start(bare_daemon))
        read["nothing"] = bare_daemon.bytes_read()
        bare_daemon.stop()
        known.seconds.append(_start(daemon))
        read["known"] = daemon.bytes_read()
        delivered += daemon.count("delivery.delivered") + daemon.count("file.accepted")
        daemon.stop()
    report = Report(
        f"start with {count:,} known files, median of {settings.rounds}",
        ("", "seconds", "spread", "x bare scan", "asked"),
    )
    for label, sample, asked in (
        ("scandir + stat", bare, ""),
        ("lorawatch, nothing to watch, exec → ready", nothing, ""),
        ("lorawatch, all known, exec → ready", known, "≤ 3"),
    ):
        report.rows.append((label, f"{sample.median:.3f}", sample.spread, ratio(sample.median, bare.median), asked))
    surplus = read["known"] - read["nothing"]
    report.notes = [
        'they are known by existing = "ignore": remembered with their versions, never read',
        f"accepted or delivered again: {delivered} (asked: 0)",
        f"files opened: {_opened(daemon, watched)} (asked: 0)",
        f"bytes read beyond an empty start, the journal included: {surplus:,}, {surplus / count:.0f} per file",
    ]
    return report


def _daemon(directory: str, label: str, watched: str) -> Lorawatch:
    to = os.path.join(directory, f"{label}-destination")
    os.makedirs(to)
    return Lorawatch(
        watch=watched,
        to=to,
        directory=os.path.join(directory, f"{label}-daemon"),
        environment={"LORAWATCH_WATCH__EXISTING": "ignore"},  # as known as what was delivered, without the hours
    )


def _write_tree(root: str, count: int) -> int:
    content = bytearray(lora_bytes(tensors=TINY_LORA))
    directories = max(1, count // FILES_PER_DIRECTORY)
    for directory in range(directories):
        path = os.path.join(root, f"training_{directory:03d}")
        os.makedirs(path)
        for number in range(FILES_PER_DIRECTORY):
            content[-16:-12] = (directory * FILES_PER_DIRECTORY + number).to_bytes(4, "little")
            with open(f"{path}/training_{directory:03d}_{number:09d}.safetensors", "wb", buffering=0) as file:
                file.write(content)
    return directories * FILES_PER_DIRECTORY


def _scan(root: str, expected: int) -> float:
    started = time.perf_counter()
    pending, seen = [root], 0
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                else:
                    entry.stat(follow_symlinks=False)
                    seen += 1
    seconds = time.perf_counter() - started
    if seen != expected:
        raise RuntimeError(f"scanned {seen} files, wrote {expected}")
    return seconds


def _start(daemon: Lorawatch) -> float:
    daemon.start()
    return daemon.wait_for("daemon.ready") - daemon.started_at


def _opened(daemon: Lorawatch, watched: str) -> str:
    """Count the watched files that a start opens, as strace sees it."""
    if not shutil.which("strace"):
        return "unknown, strace is not installed"
    trace = Path(watched).parent / "trace"
    daemon.start(tracer=("strace", "-D", "-f", "-e", "trace=open,openat,openat2", "-o", str(trace)))
    daemon.wait_for("daemon.ready")
    daemon.stop()
    last_words = [str(daemon.pid), "+++", "exited"]  # the number is padded, so as words
    wait_until(lambda: _last_line(trace).split()[:3] == last_words, "strace writes to the end")
    return str(trace.read_bytes().count(b'.safetensors"'))


def _last_line(file: Path) -> str:
    return (file.read_text(errors="replace").splitlines() or [""])[-1]


def measure_help(directory: str, settings: Settings) -> Report:
    """`lorawatch --help` against that of a typer program with as many commands and nothing behind them."""
    count = len(program.registered_commands) + len(program.registered_groups)
    script = Path(directory) / "empty_program.py"
    commands = "".join(EMPTY_COMMAND.format(number=number) for number in range(count))
    script.write_text(f"import typer\n\nprogram = typer.Typer()\n{commands}\n\nprogram()\n")
    empty, real = Sample(), Sample()
    for number in range(-1, 2 * settings.rounds):  # the first round compiles
        for sample, command in ((empty, [sys.executable, str(script)]), (real, [*COMMAND])):
            seconds = seconds_of([*command, "--help"])
            if number >= 0:
                sample.seconds.append(seconds)
    report = Report(f"--help, median of {2 * settings.rounds}", ("", "seconds", "spread", "x empty program", "asked"))
    for label, sample, asked in ((f"empty typer program, {count} commands", empty, ""), ("lorawatch", real, "≤ 1.3")):
        report.rows.append((label, f"{sample.median:.3f}", sample.spread, ratio(sample.median, empty.median), asked))
    return report
