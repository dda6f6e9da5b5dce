"""`doctor`: what may keep LoRAs from arriving, and what to do about it."""

import os
import shutil
import sys

import typer

from lorawatch.cli import EXIT_ATTENTION, options


def doctor(
    as_json: options.Json = False,
    config: options.Config = None,
    log_format: options.LogFormat = None,
    log_level: options.LogLevel = None,
) -> None:
    """Check configuration, permissions, disks, limits, servers, ComfyUI and service; say what to do.

    It changes nothing, and works beside a running daemon. Exit code 3: there is something to do, also when the
    configuration cannot be loaded.

    Example: lorawatch doctor, or for the service: sudo lorawatch doctor
    """
    from lorawatch.doctor.examination import examine
    from lorawatch.doctor.report import Look, lines_of, summary
    from lorawatch.terminal import is_coloured

    findings = []
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else 0
    look = Look(columns, is_coloured(sys.stdout, os.environ))
    for finding in examine(config, options.with_log_options(log_format, log_level)):
        findings.append(finding)
        if not as_json:
            typer.echo("\n".join(options.printable(line) for line in lines_of(finding, look)), color=look.is_coloured)
    if as_json:
        options.print_json({"findings": [finding.document() for finding in findings]})
    else:
        typer.echo(f"\n{summary(findings, look)}", color=look.is_coloured)
    if not all(finding.is_fine for finding in findings):
        raise typer.Exit(EXIT_ATTENTION)
