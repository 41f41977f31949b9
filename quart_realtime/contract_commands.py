"""The commands about an app's contract: what it offers, whether it is put together rightly."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import click

from .asyncapi import SERVER, asyncapi_document
from .cli_common import SetupProblems, app_runtime
from .contract import Contract, EventContract, Operation, RoomContract
from .endpoint import check_endpoint
from .errors import SetupError
from .python_client import python_client
from .startup import check as check_at_startup
from .survey import contract_of
from .typescript import typescript


def _contract() -> Contract:
    runtime = app_runtime()
    try:
        return contract_of(runtime.app, runtime.registry, runtime.settings)
    except SetupError as error:
        raise SetupProblems(*error.problems) from None


_output = click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write; printed if left out.",
)


def _write(text: str, output: Path | None) -> None:
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise click.BadParameter(f"{output} can't be written: {error.strerror}") from None


# What is there


@click.command()
def routes() -> None:
    """Show what is asked, told and joined.

    Each request with the route that answers it and the decorators that guard that; each event with
    the rooms that it goes to; each pattern of rooms.
    """
    contract = _contract()
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
def check() -> None:
    """Check the app as its start does.

    Nothing is served, and no broker asked. The exit code is 1 where there is a problem.
    """
    runtime = app_runtime()
    app = runtime.app
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
        raise SetupProblems(*problems)
    contract = _contract()
    click.secho("All is well: ", fg="green", nl=False)
    click.echo(
        f"requests {len(contract.operations)}, events {len(contract.events)}, "
        f"room patterns {len(contract.rooms)}"
    )


# What is made of it


@click.command()
@_output
@click.option("--server", default=SERVER, show_default=True, help="Where the app is.")
def asyncapi(output: Path | None, server: str) -> None:
    """Write the AsyncAPI document, as JSON."""
    parts = urlsplit(server)
    if parts.scheme not in {"ws", "wss", "http", "https"} or not parts.netloc:
        raise click.BadParameter(
            f"write --server as an origin, such as wss://chat.example.com, not {server!r}"
        )
    document = asyncapi_document(_contract(), server)
    _write(json.dumps(document, indent=2, ensure_ascii=False) + "\n", output)


def _command(name: str, render: Callable[[Contract], str], about: str) -> click.Command:
    """Return the command *name*, which writes what *render* makes of a contract."""

    @click.command(name, help=about)
    @_output
    def command(output: Path | None) -> None:
        _write(render(_contract()), output)

    return command


types = _command("types", typescript, "Write the types for the JavaScript client, in TypeScript.")
client = _command("client", python_client, "Write a typed client, in Python.")

COMMANDS: list[click.Command] = [routes, check, asyncapi, types, client]
"""The commands that read an app's contract, without serving it."""
