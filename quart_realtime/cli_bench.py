"""``quart realtime bench``: a quick, bounded load on a server that runs."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click
from attrs import define, field

from .cli_common import (
    Failed,
    Target,
    client_options,
    connected,
    printable,
    read_json,
    run,
    target_of,
)
from .client_types import RealtimeError

if TYPE_CHECKING:
    from .client import Client

MOST_CONNECTIONS = 200
MOST_SECONDS = 60.0
CONNECT = 10.0
"""How many seconds one connection may take."""
AT_ONCE = 10
"""How many connect at a time."""


@click.command()
@click.argument("action", default="", metavar="[RESOURCE.ACTION]")
@click.option("--json", "payload", default="{}", metavar="JSON", help="The request's payload.")
@click.option(
    "--connections",
    "-n",
    type=click.IntRange(1, MOST_CONNECTIONS),
    default=10,
    show_default=True,
    help="How many sockets; a user may have 20 by default.",
)
@click.option(
    "--seconds",
    "-s",
    type=click.FloatRange(0.0, MOST_SECONDS, min_open=True),
    default=5.0,
    show_default=True,
    help="For how long.",
)
@click.option("--anywhere", is_flag=True, help="Also where the server isn't this machine.")
@client_options
def bench(
    action: str,
    payload: str,
    connections: int,
    seconds: float,
    anywhere: bool,
    url: str | None,
    token: str | None,
) -> None:
    """Put a load on a server that runs, and print how fast it answers.

    Each socket sends a request when the one before has been answered; without RESOURCE.ACTION it
    sends a ping, which the server answers by itself. The client runs in Python beside it, and what
    it can send is a bound of its own: compare, and don't add up. Errors are counted by their code.
    """
    target = target_of(url, token)
    if not anywhere and not _is_here(target.url):
        raise click.UsageError(
            "That server isn't on this machine. If you may put a load on it, write --anywhere."
        )
    body = read_json(payload, "--json")
    if not isinstance(body, dict):
        raise click.BadParameter("the payload must be a JSON object, {…}")
    resource, _, name = action.rpartition(".")
    if action and not (resource and name):
        raise click.BadParameter(f"write it as RESOURCE.ACTION, not {action!r}")
    asked = (resource, name, body) if action else None
    outcome = run(_load(target, asked, connections, seconds))
    click.echo(outcome.told(connections))
    if not outcome.times:
        raise Failed("nothing was answered")


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost" or host.endswith(".localhost")


@define
class Outcome:
    """What came of a load: how long each answer took, and what was no answer, in seconds."""

    times: list[float] = field(factory=list)
    errors: dict[str, int] = field(factory=dict)
    seconds: float = 0.0

    def told(self, connections: int) -> str:
        """Return it in a few lines."""
        rate = len(self.times) / self.seconds if self.seconds else 0.0
        lines = [
            f"{click.style(f'{rate:,.0f}', bold=True)} answers a second over {connections} "
            f"connection{'' if connections == 1 else 's'}, {len(self.times):,} in "
            f"{self.seconds:.1f} s"
        ]
        if self.times:
            times = sorted(self.times)
            places = [f"{name} {_at(times, part):.2f} ms" for name, part in _PARTS]
            lines.append("  ".join(places))
        for code, count in sorted(self.errors.items()):
            lines.append(click.style(f"{count:,} of {printable(code)}", fg="yellow"))
        return "\n".join(lines)


_PARTS = (("p50", 0.5), ("p99", 0.99), ("most", 1.0))


def _at(times: list[float], part: float) -> float:
    """Return the time, in milliseconds, that so great a part of *times* isn't over."""
    return times[min(len(times) - 1, int(part * len(times)))] * 1000


async def _load(
    target: Target, asked: tuple[str, str, dict[str, Any]] | None, connections: int, seconds: float
) -> Outcome:
    outcome = Outcome()
    async with AsyncExitStack() as stack:
        clients: list[Client] = []
        while len(clients) < connections:
            some = min(AT_ONCE, connections - len(clients))
            opening = [stack.enter_async_context(connected(target, CONNECT)) for _ in range(some)]
            # All, before any error is raised: none may come to be open after the stack is undone.
            for opened in await asyncio.gather(*opening, return_exceptions=True):
                if isinstance(opened, BaseException):
                    raise opened
                clients.append(opened)
        began = time.perf_counter()
        end = began + seconds
        await asyncio.gather(*(_ask_on(client, asked, end, outcome) for client in clients))
        outcome.seconds = time.perf_counter() - began
    return outcome


async def _ask_on(
    client: Client, asked: tuple[str, str, dict[str, Any]] | None, end: float, outcome: Outcome
) -> None:
    """Ask, and ask again when that is answered, until *end*."""
    while (began := time.perf_counter()) < end:
        try:
            if asked is None:
                await client.ping()
            else:
                resource, action, payload = asked
                await client.request(resource, action, payload)
        except RealtimeError as error:
            outcome.errors[error.code] = outcome.errors.get(error.code, 0) + 1
            # Who goes on at once is sent away.
            await asyncio.sleep(0.1 if error.code == "rate_limited" else 0)
        except Exception as error:
            name = type(error).__name__
            outcome.errors[name] = outcome.errors.get(name, 0) + 1
            return
        else:
            outcome.times.append(time.perf_counter() - began)
