"""What the commands in the terminal share: where the server is, who asks, and how answers look."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import click
from attrs import frozen
from quart.cli import NoAppException, ScriptInfo

from .endpoint import EXTENSION, runtime_of
from .errors import SetupError
from .runtime import Runtime

if TYPE_CHECKING:
    from .client import Client

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

HOST = "ws://localhost:8000"
_LOOKS = {"key": "cyan", "string": "green", "number": "yellow", "word": "magenta"}
_JSON = re.compile(
    r'(?P<key>"(?:[^"\\]|\\.)*")(?=:)|(?P<string>"(?:[^"\\]|\\.)*")'
    r"|(?P<number>-?\d[\d.eE+-]*)|(?P<word>true|false|null)"
)


class Failed(click.ClickException):
    """What was asked for could not be had; the command's exit code is 1."""

    def show(self, file: Any = None) -> None:
        """Write it to stderr, the word ``error`` in red on a terminal."""
        click.echo(f"{click.style('error', fg='red', bold=True)}: {self.message}", err=True)


class WrittenWrongly(Failed):
    """The command can't mean what it says; its exit code is 2."""

    exit_code = 2


class SetupProblems(click.ClickException):
    """The app is put together wrongly; each problem is told in a line, and the exit code is 1."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems

    def show(self, file: Any = None) -> None:
        """Write the problems to stderr."""
        count = len(self.problems)
        click.secho(f"{count} problem{'' if count == 1 else 's'}:", fg="red", err=True)
        for problem in self.problems:
            click.echo(f"- {problem}", err=True)


@frozen
class Target:
    """A server, and the token to show it, which stands in no text of an error."""

    url: str
    token: str | None = None


def client_options(function: F) -> F:
    """Add ``--url`` and ``--token`` to a command, which is called with *url* and *token*."""
    url = click.option(
        "--url",
        envvar="QUART_REALTIME_CLIENT_URL",
        metavar="URL",
        help=f"Where the websocket is; by default {HOST} and the app's QUART_REALTIME_URL. "
        "Where it is given no app is needed. [env: QUART_REALTIME_CLIENT_URL]",
    )
    token = click.option(
        "--token",
        envvar="QUART_REALTIME_TOKEN",
        metavar="JWT",
        help="The token to connect with; from the environment it stands in no list of processes. "
        "[env: QUART_REALTIME_TOKEN]",
    )
    return url(token(function))


def target_of(url: str | None, token: str | None) -> Target:
    """Return the server that *url* names, or that the app would be.

    Raises:
        UsageError: there is no app, or a token is missing. An app with a function of its own in
            place of tokens may do without one.
    """
    needs_token = True
    if url is None:
        runtime = app_runtime("write --url ws://…, or name the app")
        url = HOST + runtime.settings.url
        needs_token = runtime.registry.login is None
    if needs_token and token is None and not urlsplit(url).query:
        raise click.UsageError("Write --token, or set QUART_REALTIME_TOKEN.")
    return Target(url, token)


def app_runtime(instead: str = "name it") -> Runtime:
    """Return the live side of the app that ``quart --app`` names; it isn't started.

    Args:
        instead: What to do where there is none.

    Raises:
        UsageError: there is no app.
        SetupProblems: it can't be made, or has no Realtime.
    """
    try:
        app = click.get_current_context().ensure_object(ScriptInfo).load_app()
    except NoAppException as error:
        raise click.UsageError(
            f"There is no app to read this from: {instead} with quart --app NAME ({error})."
        ) from None
    except SetupError as error:
        raise SetupProblems(*error.problems) from None
    if EXTENSION not in app.extensions:
        raise SetupProblems(f"The app {app.name!r} has no Realtime: call Realtime(app).")
    return runtime_of(app)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run *work* to its end; with Ctrl-C the command is aborted, without a traceback."""
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        raise click.Abort from None


@asynccontextmanager
async def connected(target: Target, seconds: float) -> AsyncIterator[Client]:
    """Have a client that is connected, or fail with the first reason why it can't be.

    Args:
        target: Where to, and as whom.
        seconds: How long that may take, and how long each answer may.
    """
    connect = client_class()
    try:
        client = connect(
            target.url,
            target.token,
            request_timeout=seconds,
            # Without a token the client wants headers: it can't know that this app needs neither.
            headers={"User-Agent": "quart-realtime"},
        )
    except ValueError:
        # Its text has the URL in it, and that may have a token.
        raise click.UsageError(f"{shown(target.url)} is no ws:// or wss:// URL.") from None
    failed: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
    client.on_error(lambda error: None if failed.done() else failed.set_result(error))
    connecting = asyncio.ensure_future(client.connect())
    waited: set[asyncio.Future[Any]] = {connecting, failed}
    try:
        await asyncio.wait(waited, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        error: BaseException | None = TimeoutError(f"not within {seconds:g} s")
        if connecting.done():
            error = connecting.exception()
        elif failed.done():
            # It would go on trying; whoever waits at a terminal is better told.
            error = failed.result()
        if error is not None:
            raise Failed(f"no connection to {shown(target.url)}: {printable(str(error))}")
        yield client
    finally:
        connecting.cancel()
        await asyncio.wait([connecting])
        await client.disconnect()


def client_class() -> type[Client]:
    """Return the Python client, or say how to install what it needs."""
    try:
        from .client import Client
    except ImportError as error:
        raise Failed(str(error)) from None  # It names the extra.
    return Client


def shown(url: str) -> str:
    """Return *url* without what may be secret in it."""
    bare = url.partition("?")[0]
    return re.sub(r"//[^/@]*@", "//", bare)


def read_json(text: str, what: str) -> Any:
    """Read JSON that was written as an argument; ``-`` reads it from the standard input."""
    if text == "-":
        text = sys.stdin.read()
    try:
        return json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"{what} is no JSON: {error}") from None


def write_json(value: Any, *, indent: int | None = 2) -> str:
    """Write *value* as JSON, in colours, which go where no terminal is.

    Control characters and what turns the direction of writing are escaped: it may be anybody's.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False, default=str)
    return _JSON.sub(_in_colour, printable(text, keep="\n"))


def printable(text: str, keep: str = "") -> str:
    """Return *text* with whatever a terminal would obey or hide escaped as in JSON, but for *keep*.

    JSON stays what it was.
    """
    return "".join(
        character if character.isprintable() or character in keep else _escaped(character)
        for character in text
    )


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{int.from_bytes(units[at : at + 2]):04x}" for at in range(0, len(units), 2))


def _in_colour(match: re.Match[str]) -> str:
    return click.style(match[0], fg=_LOOKS[match.lastgroup or "word"])
