"""Upload of one large file in chunks, over loopback and over 1 Gbit/s: against a raw socket, and the naive way.

All send the same base64 text. The server throws it away, so that the sender is what is measured. The line is a pair of
virtual interfaces between two network namespaces with a token bucket on it, which needs root.
"""

import base64
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pybase64
import requests

from lorawatch.domain.errors import DestinationError
from lorawatch.domain.ports import Consignment
from tests.benchmarks.measuring import MEGABYTE, Report, Sample, Settings, ratio
from tests.contract.bench import Sender
from tests.factories import lora_bytes
from tests.mcp_scenes import open_destination_at

NAIVE_CHUNK_BYTES = 256 << 10
PROJECT = Path(__file__).parents[2]
HERE, THERE = "10.213.7.1", "10.213.7.2"
# A bucket that holds 4 ms of the line: the kernel's timer fills it 250 times a second.
LINE = ("tbf", "rate", "1gbit", "burst", "512kb", "latency", "20ms")

RAW, NAIVE, ONE, FOUR = "raw socket", "naive script", "lorawatch, one in flight", "lorawatch, four in flight"
ASKED = {
    "loopback": {ONE: "≥ 5 x naive"},
    "1 Gbit/s": {ONE: "≥ 0.75 x raw", FOUR: "≥ 0.95 x raw"},
}


def measure_upload(directory: str, settings: Settings) -> Report:
    """MB of file per second."""
    report = Report(
        f"upload of {settings.large_bytes / MEGABYTE:.0f} MB in chunks, median of {settings.rounds}",
        ("", "way", "MB/s", "x raw", "x naive", "asked"),
        notes=["lorawatch reads and hashes the file meanwhile; the others have it in memory."],
    )
    content = lora_bytes(size_bytes=settings.large_bytes)
    with ExitStack() as stack:
        lines = {"loopback": stack.enter_context(_sink())}
        if os.geteuid() == 0 and shutil.which("tc"):
            lines["1 Gbit/s"] = stack.enter_context(_line())
        else:
            report.notes.append("1 Gbit/s is left out: it needs root, ip and tc")
        for line, url in lines.items():
            _measure_line(report, line, url, directory, content, settings.rounds)
    return report


def _measure_line(report: Report, line: str, url: str, directory: str, content: bytes, rounds: int) -> None:
    consignment = Sender(os.path.join(directory, "outputs")).consignment(content)
    path, text = consignment.source_path, pybase64.b64encode(content)
    ways: dict[str, Callable[[], None]] = {
        RAW: lambda: _raw(url, text),
        NAIVE: lambda: _naive(url, path),
        ONE: lambda: _lorawatch(url, consignment, parallel_chunks=1),
        FOUR: lambda: _lorawatch(url, consignment, parallel_chunks=4),
    }
    samples = {way: Sample() for way in ways}
    for number in range(-1, rounds):  # the first round warms up and does not count
        for way, upload in ways.items():
            started = time.perf_counter()
            upload()
            if number >= 0:
                samples[way].seconds.append(time.perf_counter() - started)
    for way, sample in samples.items():
        speed = len(content) / MEGABYTE / sample.median
        raw, naive = (len(content) / MEGABYTE / samples[other].median for other in (RAW, NAIVE))
        asked = ASKED[line].get(way, "")
        report.rows.append((line, way, f"{speed:.0f}", ratio(speed, raw), ratio(speed, naive), asked))


def _raw(url: str, text: bytes) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"POST /raw HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(text))
        connection.sendall(text)
        if b"200 OK" not in connection.recv(4096):
            raise RuntimeError("the sink did not answer")


def _naive(url: str, path: str) -> None:
    """What the documentation shows."""
    route = f"{url}/mcp/tool"
    upload_id = str(uuid.uuid4())
    arguments = {"upload_id": upload_id, "filename": f"{upload_id}.safetensors", "total_size": os.stat(path).st_size}
    requests.post(route, json={"tool": "upload-lora-chunked-start", "arguments": arguments}, timeout=60)
    with open(path, "rb") as file:
        for index, chunk in enumerate(iter(lambda: file.read(NAIVE_CHUNK_BYTES), b"")):
            text = base64.b64encode(chunk).decode()
            arguments = {"upload_id": upload_id, "chunk": text, "chunk_index": index}
            requests.post(route, json={"tool": "upload-lora-chunked-append", "arguments": arguments}, timeout=60)
    finish = {"upload_id": upload_id, "verify_checksum": True}
    requests.post(route, json={"tool": "upload-lora-chunked-finish", "arguments": finish}, timeout=60)


def _lorawatch(url: str, consignment: Consignment, *, parallel_chunks: int) -> None:
    """One delivery by the destination, with its look before and after."""
    destination = open_destination_at(url, parallel_chunks=parallel_chunks, chunk_bytes=0)
    remote_name = f"{uuid.uuid4()}.safetensors"
    named = replace(consignment, delivery=replace(consignment.delivery, remote_name=remote_name))
    destination.find(remote_name)
    prepared = destination.prepare(named, progress=lambda _: None, stop=threading.Event())
    result = destination.publish([prepared])[0]
    if isinstance(result, DestinationError):
        raise result


@contextmanager
def _sink(*prefix: str, host: str = "127.0.0.1") -> Iterator[str]:
    """A sink in a process of its own."""
    command = [*prefix, sys.executable, "-m", "tests.benchmarks.sink", host, "0"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=PROJECT)
    try:
        assert process.stdout is not None
        yield f"http://{host}:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()


@contextmanager
def _line() -> Iterator[str]:
    """A sink behind 1 Gbit/s."""
    name = f"lorawatch{os.getpid()}"
    here, there = f"lw{os.getpid()}a"[:15], f"lw{os.getpid()}b"[:15]

    def run(*words: str) -> None:
        subprocess.run(words, check=True, capture_output=True)

    run("ip", "netns", "add", name)
    try:
        run("ip", "link", "add", here, "type", "veth", "peer", "name", there, "netns", name)
        run("ip", "addr", "add", f"{HERE}/30", "dev", here)
        run("ip", "link", "set", here, "up")
        run("ip", "-n", name, "addr", "add", f"{THERE}/30", "dev", there)
        run("ip", "-n", name, "link", "set", there, "up")
        run("tc", "qdisc", "add", "dev", here, "root", *LINE)
        run("tc", "-n", name, "qdisc", "add", "dev", there, "root", *LINE)
        with _sink("ip", "netns", "exec", name, host=THERE) as url:
            yield url
    finally:
        run("ip", "netns", "del", name)  # takes both ends of the pair with it
