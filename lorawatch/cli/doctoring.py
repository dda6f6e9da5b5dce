"""`doctor`: what may keep LoRAs from arriving, and what to do about it."""

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
    from lorawatch.doctor.report import rows_of, summary
    from lorawatch.status_rows import space

    findings = []
    columns = options.terminal_size()[0] if sys.stdout.isatty() else 0
    for finding in examine(config, options.with_log_options(log_format, log_level)):
        findings.append(finding)
        if not as_json:
            options.print_rows(rows_of(finding, columns))
    if as_json:
        options.print_json({"findings": [finding.document() for finding in findings]})
    else:
        options.print_rows([space(), summary(findings)])
    if not all(finding.is_fine for finding in findings):
        raise typer.Exit(EXIT_ATTENTION)
