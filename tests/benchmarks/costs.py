"""What lorawatch costs while it has nothing to do, and how much memory it takes for a file of 1 GiB."""

import time

from tests.benchmarks.arrival import carry
from tests.benchmarks.carriers import Carrier, Command, LorawatchCarrier
from tests.benchmarks.measuring import MEGABYTE, Report, Sample, Settings, ratio, settle
from tests.factories import lora_bytes

HUGE_BYTES = 1 << 30


def measure_idle(directory: str, settings: Settings) -> Report:
    """CPU and memory of a daemon that is ready, and has delivered once: whatever is loaded late is loaded then."""
    content = bytearray(lora_bytes(size_bytes=settings.large_bytes))
    with LorawatchCarrier(directory) as carrier:
        daemon = carrier.daemon
        ready_bytes = daemon.memory_bytes("VmRSS")
        carry(carrier, ["first.safetensors"], content)
        settle()
        time.sleep(1.0)
        before, started = daemon.cpu_seconds(), time.perf_counter()
        time.sleep(settings.idle_seconds)
        used, wall = daemon.cpu_seconds() - before, time.perf_counter() - started
        idle_bytes = daemon.memory_bytes("VmRSS")
    report = Report(f"idle for {wall:.0f} s", ("", "measured", "asked"))
    report.rows = [
        ("CPU seconds", f"{used:.2f}", "not measurable"),
        ("CPU share of one core", f"{used / wall:.2%}", "not measurable"),
        ("RSS when ready", f"{ready_bytes / MEGABYTE:.1f} MB", "≤ 64 MB"),
        ("RSS after a delivery", f"{idle_bytes / MEGABYTE:.1f} MB", "≤ 64 MB"),
    ]
    return report


def measure_memory(directory: str, settings: Settings) -> Report:
    """The most memory that a delivery of 1 GiB ever takes, and its throughput beside cp."""
    content = bytearray(lora_bytes(size_bytes=HUGE_BYTES))
    copying: Carrier = Command(directory, "cp", ["cp"])
    samples = {"cp": Sample(), "lorawatch": Sample()}
    with copying, LorawatchCarrier(directory) as carrier:
        rivals: list[Carrier] = [copying, carrier]
        for number in range(settings.rounds):
            for each in rivals:
                _, seconds = carry(each, [f"huge{number}.safetensors"], content)
                samples[each.label].seconds.append(seconds)
                settle()
        peak_bytes = carrier.daemon.memory_bytes("VmHWM")
    report = Report(
        f"{len(content) / MEGABYTE:,.0f} MB in one file, median of {settings.rounds}",
        ("", "seconds", "spread", "MB/s", "x cp", "peak RSS", "asked"),
    )
    for label, sample in samples.items():
        peak = f"{peak_bytes / MEGABYTE:.1f} MB" if label == "lorawatch" else ""
        report.rows.append(
            (
                label,
                f"{sample.median:.3f}",
                sample.spread,
                f"{len(content) / MEGABYTE / sample.median:.0f}",
                ratio(sample.median, samples["cp"].median),
                peak,
                "≤ 90 MB" if label == "lorawatch" else "",
            )
        )
    return report
