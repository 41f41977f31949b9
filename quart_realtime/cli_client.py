"""``quart realtime call`` and ``listen``: a client in the terminal; and all commands that act."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime
from typing import Any

import click

from .cli_bench import bench
from .cli_common import (
    Failed,
    Target,
    client_options,
    connected,
    printable,
    read_json,
    run,
    target_of,
    write_json,
)
from .cli_events import emit, rooms
from .client_types import Disconnect, Event, RealtimeError, Recovery

_ARGUMENT = re.compile(r"(?P<name>[^=:]+)(?P<how>:?=)(?P<value>.*)", re.DOTALL)


@click.command()
@click.argument("action", metavar="RESOURCE.ACTION")
@click.argument("arguments", nargs=-1, metavar="[NAME=TEXT | NAME:=JSON]...")
@click.option("--json", "payload", metavar="JSON", help="The whole payload; - reads it from stdin.")
@click.option("--timeout", default=10.0, show_default=True, help="Seconds for the answer to come.")
@client_options
def call(
    action: str,
    arguments: tuple[str, ...],
    payload: str | None,
    timeout: float,
    url: str | None,
    token: str | None,
) -> None:
    """Send a request over the websocket, and print the answer.

    \b
    quart realtime call messages.create conversation_id=1 content=hello
    quart realtime call messages.create --json '{"conversation_id": 1}'

    An error's code, message and details go to stderr, and the exit code is 1.
    """  # noqa: D301 - click takes it for the character.
    resource, _, name = action.rpartition(".")
    if not resource or not name:
        raise click.BadParameter(f"write it as RESOURCE.ACTION, not {action!r}")
    body = _payload(arguments, payload)
    answer = run(_call(target_of(url, token), resource, name, body, timeout))
    click.echo(write_json(answer))


def _payload(arguments: tuple[str, ...], payload: str | None) -> dict[str, Any]:
    body = {} if payload is None else read_json(payload, "--json")
    if not isinstance(body, dict):
        raise click.BadParameter("the payload must be a JSON object, {…}")
    for argument in arguments:
        match = _ARGUMENT.fullmatch(argument)
        if match is None:
            raise click.BadParameter(f"write NAME=TEXT or NAME:=JSON, not {argument!r}")
        value = match["value"]
        body[match["name"]] = value if match["how"] == "=" else read_json(value, match["name"])
    if "action" in body:
        raise click.BadParameter("the action is written RESOURCE.ACTION, and can't be another one")
    return body


async def _call(
    target: Target, resource: str, action: str, payload: dict[str, Any], timeout: float
) -> Any:
    async with connected(target, timeout) as client:
        try:
            return await client.request(resource, action, payload)
        except RealtimeError as error:
            raise refusal(error) from None
        except Exception as error:
            raise Failed(printable(str(error))) from None


def refusal(error: RealtimeError) -> Failed:
    """Return the failure that tells what the server answered, with its details."""
    details = "" if not error.details else "\n" + write_json(error.details)
    return Failed(f"{click.style(printable(str(error)), bold=True)}{details}")


@click.command()
@click.argument("events", nargs=-1, metavar="[EVENT]...")
@click.option("--room", "room_names", multiple=True, metavar="ROOM", help="A room to follow too.")
@click.option("--count", type=click.IntRange(1), help="End after so many events.")
@click.option("--timeout", type=click.FloatRange(0.0, min_open=True), help="End after so long (s).")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object a line.")
@client_options
def listen(
    events: tuple[str, ...],
    room_names: tuple[str, ...],
    count: int | None,
    timeout: float | None,
    as_json: bool,
    url: str | None,
    token: str | None,
) -> None:
    """Print events as they come, of those types or of all, until Ctrl-C.

    Heard is what the token's user hears by itself, and what comes to each --room. When --timeout
    ends before --count events have come, the exit code is 1.
    """
    show = _as_line if not as_json else _as_object
    listener = _Listener(frozenset(events), room_names, count, show)
    try:
        heard = run(listener.run(target_of(url, token), timeout))
    except click.Abort:
        return  # Ctrl-C is how it ends.
    if count is not None and heard < count:
        raise Failed(f"{heard} of {count} events came within {timeout:g} s")


class _Listener:
    """Prints events.

    Args:
        events: Their types; all where there are none.
        rooms: What is followed.
        count: After how many it is enough.
        show: Makes a line of each.
    """

    CONNECT = 10.0
    """How many seconds connecting may take."""

    def __init__(
        self, events: frozenset[str], rooms: tuple[str, ...], count: int | None, show: Any
    ) -> None:
        self._events = events
        self._rooms = rooms
        self._count = count
        self._show = show
        self._heard = 0

    async def run(self, target: Target, seconds: float | None) -> int:
        """Print what comes, for so many seconds at most; return how many that were."""
        async with connected(target, self.CONNECT) as client:
            client.on_disconnect(_tell_disconnect)
            client.on_recovered(_tell_recovery)
            stream = client.events()
            try:
                followed = [await client.subscribe(room) for room in self._rooms]
            except RealtimeError as error:
                raise refusal(error) from None
            except ValueError as error:
                raise click.BadParameter(str(error)) from None
            names = ", ".join(self._rooms) or "what comes by itself"
            _note(f"listening as {client.user_id} to {names}; Ctrl-C ends it")
            try:
                async with asyncio.timeout(seconds):
                    async for event in stream:
                        if self._take(event):
                            break
            except TimeoutError:
                pass
            except Exception as error:
                raise Failed(printable(str(error))) from None
            del followed
        return self._heard

    def _take(self, event: Event) -> bool:
        """Print *event*, if it is of those; tell whether that is enough."""
        if self._events and event.type not in self._events:
            return False
        click.echo(self._show(event))
        self._heard += 1
        return self._heard == self._count


def _as_line(event: Event) -> str:
    now = click.style(f"{datetime.now():%H:%M:%S.%f}"[:-3], dim=True)
    place = event.room if event.offset is None else f"{event.room} #{event.offset}"
    kind = click.style(printable(event.type), fg="blue", bold=True)
    room = click.style(printable(place), dim=True)
    return f"{now} {kind} {room} {write_json(event.data, indent=None)}"


def _as_object(event: Event) -> str:
    told = {
        "time": datetime.now().astimezone().isoformat(timespec="milliseconds"),
        "type": event.type,
        "room": event.room,
        "offset": event.offset,
        "epoch": event.epoch,
        "data": event.data,
    }
    return write_json(told, indent=None)


def _note(text: str) -> None:
    """Say *text* beside the events, which alone are on stdout."""
    click.echo(click.style(printable(text), dim=True), err=True)


def _tell_disconnect(end: Disconnect) -> None:
    if end.reconnecting:
        _note(f"disconnected: {end.code} {end.reason}; coming back")


def _tell_recovery(recovery: Recovery) -> None:
    said = "nothing was missed" if recovery.recovered else "some events were missed"
    _note(f"back in {recovery.room}: {said}")


COMMANDS: list[click.Command] = [call, listen, emit, rooms, bench]
"""The commands that act: on a server that runs, or on its broker."""
