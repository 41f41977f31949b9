"""The commands about an app's contract: what it offers, whether it is put together rightly."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import click
from quart import Quart
from quart.cli import ScriptInfo, pass_script_info

from .asyncapi import SERVER, asyncapi_document
from .contract import Contract, EventContract, Operation, RoomContract
from .endpoint import check_endpoint, runtime_of
from .errors import SetupError
from .python_client import python_client
from .runtime import Runtime
from .startup import check as check_at_startup
from .survey import contract_of
from .typescript import typescript


class SetupProblems(click.ClickException):
    """The app is put together wrongly; it is told with exit code 1, a line for each problem."""

    def __init__(self, error: SetupError) -> None:
        super().__init__("\n".join(error.problems))
        self.problems = error.problems

    def show(self, file: Any = None) -> None:
        """Print the problems."""
        count = len(self.problems)
        click.secho(f"{count} problem{'' if count == 1 else 's'}:", fg="red", err=True)
        for problem in self.problems:
            click.echo(f"- {problem}", err=True)


def loaded(info: ScriptInfo) -> tuple[Quart, Runtime]:
    """Return the app that ``--app`` or ``QUART_APP`` names, and the live side of its Realtime.

    Nothing is started: no server, no broker.

    Raises:
        SetupProblems: the app can't be made, or has no Realtime.
    """
    try:
        app = info.load_app()
        return app, runtime_of(app)
    except SetupError as error:
        raise SetupProblems(error) from None


def _contract(info: ScriptInfo) -> Contract:
    app, runtime = loaded(info)
    try:
        return contract_of(app, runtime.registry, runtime.settings)
    except SetupError as error:
        raise SetupProblems(error) from None


_output = click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write; printed if left out.",
)


def _write(text: str, output: Path | None) -> None:
    if output is None:
        click.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")


# What is there


@click.command()
@pass_script_info
def routes(info: ScriptInfo) -> None:
    """Show what is asked, told and joined.

    Each request with the route that answers it and the decorators that guard that; each event with
    the rooms that it goes to; each pattern of rooms.
    """
    contract = _contract(info)
    _table(
        ("request", "answered by", "guards", "login", "rate"),
        [_request_row(operation) for operation in contract.operations],
    )
    _table(
        ("event", "goes to", "kept", "emitted by"),
        [_event_row(event) for event in contract.events],
    )
    _table(
        ("room", "presence", "history"),
        [_room_row(room) for room in contract.rooms],
    )


def _request_row(operation: Operation) -> tuple[str, ...]:
    origin = operation.origin
    answered_by, guards = "native", "-"
    if origin is not None:
        answered_by = f"{origin.method} {origin.rule}"
        guards = " ".join(f"@{name}" for name in (*origin.guards, *origin.decorators)) or "-"
    login = "required" if operation.login else "no"
    return operation.name, answered_by, guards, login, operation.rate_limit or "-"


def _event_row(event: EventContract) -> tuple[str, ...]:
    rooms = [*event.rooms, *(f"{name}(…)" for name in event.chosen_by)]
    rooms += ["everyone"] if event.everyone else []
    emitted_by = ", ".join(event.emitted_by) or "-"
    return event.name, ", ".join(rooms) or "-", "yes" if event.history else "no", emitted_by


def _room_row(room: RoomContract) -> tuple[str, ...]:
    kept = room.history
    history = f"{kept.size} events, {kept.ttl:g} s" if kept.size else "none"
    return room.pattern, "yes" if room.presence else "no", history


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print *rows* in columns under *titles*, and an empty line."""
    lines = [titles, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.secho(text.rstrip(), bold=line is titles)
    click.echo()


@click.command()
@pass_script_info
def check(info: ScriptInfo) -> None:
    """Check the app as its start does.

    Nothing is served, and no broker asked. The exit code is 1 where there is a problem.
    """
    app, runtime = loaded(info)
    problems: list[str] = []
    for look in (
        lambda: check_endpoint(app),
        lambda: check_at_startup(app, runtime.registry, runtime.settings, runtime.authenticator),
    ):
        try:
            look()
        except SetupError as error:
            problems += error.problems
    if problems:
        raise SetupProblems(SetupError(*problems))
    contract = _contract(info)
    click.secho("All is well: ", fg="green", nl=False)
    click.echo(
        f"requests {len(contract.operations)}, events {len(contract.events)}, "
        f"room patterns {len(contract.rooms)}"
    )


# What is made of it


@click.command()
@_output
@click.option("--server", default=SERVER, show_default=True, help="Where the app is.")
@pass_script_info
def asyncapi(info: ScriptInfo, output: Path | None, server: str) -> None:
    """Write the AsyncAPI document, as JSON."""
    document = asyncapi_document(_contract(info), server)
    _write(json.dumps(document, indent=2, ensure_ascii=False) + "\n", output)


def _command(name: str, render: Callable[[Contract], str], about: str) -> click.Command:
    """Return the command *name*, which writes what *render* makes of a contract."""

    @click.command(name, help=about)
    @_output
    @pass_script_info
    def command(info: ScriptInfo, output: Path | None) -> None:
        _write(render(_contract(info)), output)

    return command


types = _command("types", typescript, "Write the types for the JavaScript client, in TypeScript.")
client = _command("client", python_client, "Write a typed client, in Python.")

COMMANDS: list[click.Command] = [routes, check, asyncapi, types, client]
"""The commands that read an app's contract, without serving it."""
