"""``quart realtime emit`` and ``rooms``: over the broker, with no server asked."""

from __future__ import annotations

from typing import Any, cast

import click
from attrs import frozen

from .broker import PRIVATE, Presence
from .broker_url import Kind, parse_broker_url
from .cli_common import Failed, WrittenWrongly, app_runtime, printable, read_json, run, write_json
from .errors import BrokerUnavailable, RealtimeError, SetupError
from .hub import user_of_logins, user_room
from .protocol import HistoryPolicy
from .registry import Registry
from .runtime import Runtime


@frozen
class _Declared:
    """What the app has declared, as an emitter asks for it."""

    declarations: Registry


def _checked(runtime: Runtime) -> str:
    """Return the app's broker's URL, where that is one that other processes reach."""
    url = runtime.settings.broker_url
    if parse_broker_url(url).kind is Kind.MEMORY:
        raise Failed(
            "the app's broker is in memory, where no other process reaches it: set "
            'QUART_REALTIME_BROKER_URL, such as "redis://localhost:6379/0", in the configuration '
            "that this command and the server share"
        )
    return url


@click.command()
@click.argument("event")
@click.argument("data", default="null", metavar="[JSON]")
@click.option("--room", "rooms", multiple=True, metavar="ROOM", help="Where it goes.")
@click.option("--key", help="Have it sent once, though this is run again within two minutes.")
def emit(event: str, data: str, rooms: tuple[str, ...], key: str | None) -> None:
    """Send an event to the clients of an app, over its broker.

    \b
    quart --app app realtime emit report_ready '{"report_id": 7}' --room user:ana

    The data is checked against what the app declares of the event, and without --room it goes where
    the app declares, or else to everybody; a name that is declared nowhere and close to one that is
    needs --room. JSON of - is read from stdin.
    """  # noqa: D301 - click takes it for the character.
    value = read_json(data, "JSON")
    runtime = app_runtime()
    if not rooms:
        try:
            runtime.registry.check_spelling(event)
        except ValueError as error:
            raise WrittenWrongly(printable(str(error).replace("room=…", "--room ROOM"))) from None
    url = _checked(runtime)
    try:
        run(_emit(runtime, url, event, value, list(rooms) or None, key))
    except (RealtimeError, SetupError, ValueError, TypeError) as error:
        details = error.as_payload().get("details") if isinstance(error, RealtimeError) else None
        more = "\n" + write_json(details) if details else ""
        raise Failed(printable(str(error)) + more) from None
    click.echo(f"sent {click.style(printable(event), fg='blue', bold=True)}", err=True)


async def _emit(
    runtime: Runtime, url: str, event: str, data: Any, rooms: list[str] | None, key: str | None
) -> None:
    from .emitter import Emitter

    settings = runtime.settings
    history = HistoryPolicy(settings.history_size, settings.history_ttl)
    async with (
        runtime.app.app_context(),
        Emitter(url, realtime=_Declared(runtime.registry), history=history) as emitter,
    ):
        await emitter.notify(event, data, room=rooms, key=key)


@click.command(short_help="Print the rooms that somebody is in, or who is in some.")
@click.option("--room", "names", multiple=True, metavar="ROOM", help="Say who is in this one.")
def rooms(names: tuple[str, ...]) -> None:
    """Print the rooms that somebody is in, on all processes of an app, or who is in some.

    Known are those with presence=True, and each user's own, user:ID. A room that doesn't tell who
    is in it is known to no broker: the inspector shows those of one process.
    """
    url = _checked(app_runtime())
    try:
        found = run(_present(url, names))
    except (BrokerUnavailable, SetupError) as error:
        raise Failed(str(error)) from None
    if not found:
        click.echo("nobody is in a room that tells who is in it", err=True)
    for room, users in found.items():
        connections = sum(user.connections for user in users)
        title = click.style(printable(room), fg="blue", bold=True)
        click.echo(f"{title}  {_plural(len(users), 'user')}, {_plural(connections, 'connection')}")
        if names:
            for user in users:
                click.echo(
                    f"  {printable(user.user_id)}  {_plural(user.connections, 'connection')}"
                )


async def _present(url: str, names: tuple[str, ...]) -> dict[str, tuple[Presence, ...]]:
    """Return who is in the rooms *names*, or in all that are known."""
    from .redis_broker import names_of
    from .redis_presence import Presences
    from .redis_servers import connect

    parsed = parse_broker_url(url)
    servers = connect(parsed)
    presences = Presences(servers, names_of(parsed), node="")
    try:
        keys = await presences.rooms()
        # A user's own room is counted under a key of its own, by which it is found.
        shown = {_shown(key): key for key in keys if _shown(key)}
        wanted = names or sorted(cast("dict[str, str]", shown))
        found = {room: (await presences.present(shown.get(room, room))).users for room in wanted}
    finally:
        await servers.close()
    return found if names else {room: users for room, users in found.items() if users}


def _shown(key: str) -> str | None:
    """Return the room that is counted under *key*, None for what isn't anybody's to see."""
    user_id = user_of_logins(key)
    if user_id is not None:
        return user_room(user_id)
    return None if key.startswith(PRIVATE) else key


def _plural(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
