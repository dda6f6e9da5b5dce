"""`service`: lorawatch as a systemd service."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from lorawatch.cli import EXIT_ATTENTION, options

if TYPE_CHECKING:
    from lorawatch.service_unit.site import Site
    from lorawatch.service_unit.steps import Step

service = typer.Typer(
    name="service",
    help="lorawatch as a systemd service: install, uninstall, status.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print everything that would be done, and do nothing.")]


@service.command()
def install(
    user: Annotated[
        str | None,
        typer.Option("--user", metavar="NAME", help="Run as this user, for example the one who trains."),
    ] = None,
    private_files: Annotated[
        bool | None,
        typer.Option("--private-files/--no-private-files", help="Read LoRAs of mode 0600, whoever owns them."),
    ] = None,
    dry_run: DryRun = False,
    watch: options.Watch = None,
    to: options.To = None,
    config: options.Config = None,
    log_format: options.LogFormat = None,  # noqa: ARG001 every command takes it
    log_level: options.LogLevel = None,  # noqa: ARG001
) -> None:
    """Install the service, prove that it has access to everything, and start it. Again: adds what is new.

    Where there is no /etc/lorawatch/config.toml, it is written from --watch and --to, from --config, or from what is
    found on this machine. The user and --private-files stay as chosen until they are chosen anew.

    Example: sudo lorawatch service install --watch /ai-toolkit/outputs --to /comfyui/models/loras
    """
    from lorawatch.service_unit import freshness, planning
    from lorawatch.service_unit.configuration import Wish
    from lorawatch.service_unit.survey import Request, survey

    request = Request(Wish(config, watch or (), to), user, private_files)
    if not dry_run:
        _require_root_and_systemd()
    site = survey(request)
    steps = planning.installation(site)
    if dry_run:
        _print_plan([*steps, f"check as {site.user}, inside the sandbox: {_expectation(site)}"])
        _print_plan(planning.start(is_outdated=False))
        typer.echo("would restart it instead, if it runs and any of this, a token or the program has changed since")
        return
    _apply(steps)
    reasons = freshness.outdated(site)
    _check(site)
    for reason in reasons:
        typer.echo(f"outdated: {options.printable(reason)}")
    _apply(planning.start(is_outdated=bool(reasons)))
    typer.echo(
        "\nlorawatch runs. See it:  systemctl status lorawatch\nand its events:          journalctl -fu lorawatch"
    )


@service.command()
def uninstall(
    purge: Annotated[bool, typer.Option("--purge", help="Remove configuration, state, logs and user too.")] = False,
    dry_run: DryRun = False,
    config: options.Config = None,  # noqa: ARG001 every command takes it
    log_format: options.LogFormat = None,  # noqa: ARG001
    log_level: options.LogLevel = None,  # noqa: ARG001
) -> None:
    """Stop and remove the service. Configuration and state stay, unless --purge; delivered files always do.

    Example: sudo lorawatch service uninstall
    """
    from lorawatch.service_unit import configuration, places, planning, program, survey

    if not dry_run:
        _require_root_and_systemd()
    is_user_ours, is_group_ours = survey.made_user_and_group()
    steps = planning.removal(
        is_purged=purge,
        is_user_ours=is_user_ours,
        is_group_ours=is_group_ours,
        is_program_ours=program.is_copy(places.PROGRAM),
    )
    if dry_run:
        _print_plan(steps)
        return
    elsewhere = configuration.state_elsewhere()
    _apply(steps)
    stays = f" {elsewhere} stays, with the state in it." if elsewhere else ""
    hint = stays if purge else " Configuration and state stay; --purge removes them too."
    typer.echo(options.printable(f"The service is removed.{hint}"))


@service.command()
def status(
    config: options.Config = None,  # noqa: ARG001 every command takes it
    log_format: options.LogFormat = None,  # noqa: ARG001
    log_level: options.LogLevel = None,  # noqa: ARG001
) -> None:
    """Show whether the service is installed, enabled and running, and as whom. Exit code 3: it does not run.

    Example: lorawatch service status
    """
    from lorawatch.service_unit.report import report

    lines, is_running = report()
    typer.echo("\n".join(options.printable(line) for line in lines))
    if not is_running:
        raise typer.Exit(EXIT_ATTENTION)


def _require_root_and_systemd() -> None:
    from lorawatch.domain.errors import LorawatchError
    from lorawatch.service_unit.survey import is_systemd_running

    if os.geteuid() != 0:
        raise LorawatchError(
            "the service of the system can only be changed by root", fix="use sudo, or look first with --dry-run"
        )
    if not is_systemd_running():
        raise LorawatchError(
            "this machine was not booted with systemd", fix="in a container let `lorawatch run` be its command"
        )


def _print_plan(steps: "list[Step] | list[Step | str]") -> None:
    from lorawatch.service_unit.steps import Remove

    for step in steps:
        if isinstance(step, Remove) and not os.path.lexists(step.path):
            continue
        typer.echo(f"would {options.printable(str(step))}")


def _apply(steps: "list[Step]") -> None:
    """Do the steps, and say which of them changed something."""
    from lorawatch.service_unit.applying import apply

    for step in steps:
        if apply(step):
            typer.echo(options.printable(str(step).splitlines()[0].removesuffix(":")))


def _check(site: "Site") -> None:
    """Prove that the service will have access; end with 3, and without enabling it, when it will not."""
    from lorawatch.service_unit.checking import check
    from lorawatch.service_unit.report import report

    outcome = check(site)
    for note in outcome.notes:
        typer.echo(f"note: {options.printable(note)}", err=True)
    if outcome.errors:
        for error in outcome.errors:
            typer.echo(f"error: {options.printable(error)}", err=True)
        state = "not restarted: it goes on as before" if report()[1] else "neither enabled nor started"
        typer.echo(f"\nInstalled, but {state}. Afterwards run this again.", err=True)
        raise typer.Exit(EXIT_ATTENTION)
    typer.echo(f"checked as {site.user}, inside the sandbox: {options.printable(_expectation(site))}")


def _expectation(site: "Site") -> str:
    reads, writes = ", ".join(site.read_directories), ", ".join(site.written_directories)
    return f"reads {reads or 'nothing'}; writes {writes or 'nothing'}"
