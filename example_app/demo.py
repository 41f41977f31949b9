"""See it work: ``python -m example_app.demo`` starts a server, and two people chat.

Ana writes by REST and Luis by websocket; both hear both. Everything is over and gone at the end.
"""

import asyncio
import os
import re
import secrets
import sys
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from example_app import rest
from example_app.client import FAILURES
from example_app.demo_data import CONVERSATION_ID, USERS
from quart_realtime.client import Client, Stream, connect

START_UP = 20  # seconds for the server to come up
PATIENCE = 10  # seconds to hear a message
FAREWELL = 5  # seconds for the server to end by itself


class ServerFailed(Exception):
    """The server did not come up; the text is what it said last."""


@asynccontextmanager
async def running_server(*options: str, **environment: str) -> AsyncIterator[str]:
    """Run the chat on a free port with a database of its own, and return its address.

    *options* are Hypercorn's.
    """
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        settings = {
            "DATABASE_URL": f"sqlite:///{Path(folder) / 'chat.sqlite'}",
            "JWT_SECRET_KEY": secrets.token_urlsafe(48),
        }
        server = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hypercorn", "--workers", "0", "--bind", "127.0.0.1:0"),
            *(*options, "example_app:create_app()"),
            env={**os.environ, **settings, **environment},
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        started: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        reading = asyncio.create_task(_read_log(server, started))
        try:
            async with asyncio.timeout(START_UP):
                address = await started
            yield address
        finally:
            await _end(server)
            await reading


async def _read_log(server: asyncio.subprocess.Process, started: asyncio.Future[str]) -> None:
    """Set *started* to where the server says that it listens, and read on, lest it block."""
    log: deque[str] = deque(maxlen=50)
    while line := (await server.stderr.readline()).decode(errors="replace"):
        log.append(line)
        found = re.search(r"Running on (http://\S+)", line)
        if found and not started.done():
            started.set_result(found[1])
    if not started.done():
        started.set_exception(ServerFailed("the server did not start:\n" + "".join(log)))


async def _end(server: asyncio.subprocess.Process) -> None:
    if server.returncode is None:
        server.terminate()
        try:
            async with asyncio.timeout(FAREWELL):
                await server.wait()
        except TimeoutError:
            server.kill()
    await server.wait()


class Person:
    """Somebody in the chat, who says what they do and hear."""

    def __init__(self, api: str, user_id: str, token: str) -> None:
        self.api = api
        self.user_id = user_id
        self.token = token
        self.client: Client
        self.heard: Stream

    @classmethod
    @asynccontextmanager
    async def connected(cls, api: str, user_id: str) -> AsyncIterator["Person"]:
        """Log in by REST, with the name as password, and connect."""
        person = cls(api, user_id, await rest.log_in(api, user_id, user_id))
        url = f"{api.replace('http', 'ws', 1)}/ws"
        async with connect(url, token=person.token) as person.client:
            person.heard = person.client.events()
            person.say("connected", f"to {url}, in {CONVERSATION_ID}")
            yield person

    def say(self, what: str, text: str) -> None:
        print(f"{self.user_id:<6} {what:<16} {text}", flush=True)

    async def write_by_rest(self, content: str) -> str:
        self.say("writes by REST", content)
        url = f"{self.api}/conversations/{CONVERSATION_ID}/messages"
        answer = await rest.post(url, {"message": {"content": content}}, self.token)
        return str(answer["message"]["id"])

    async def write_by_socket(self, content: str) -> str:
        self.say("writes by socket", content)
        message = {
            "conversation_id": CONVERSATION_ID,
            "content": content,
            "sender_id": self.user_id,
        }
        answer = await self.client.request("messages", "create", message=message)
        return str(answer["message"]["id"])

    async def hear(self, message_id: str) -> None:
        """Wait for the event that tells of the message; raises TimeoutError if it doesn't come."""
        try:
            async with asyncio.timeout(PATIENCE):
                async for event in self.heard:
                    if event.type == "new_message":
                        name = USERS[event.data["sender_id"]]
                        self.say("hears", f"{name}: {event.data['content']}")
                        if event.data["id"] == message_id:
                            return
        except TimeoutError:
            reason = f"{self.user_id} did not hear of {message_id} within {PATIENCE} s"
            raise TimeoutError(reason) from None


async def chat() -> None:
    """Have two people chat, and check that each hears the other."""
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(running_server())
        print(f"{'server':<6} {'listens':<16} at {api}", flush=True)
        ana = await stack.enter_async_context(Person.connected(api, "ana"))
        luis = await stack.enter_async_context(Person.connected(api, "luis"))
        message_id = await ana.write_by_rest("Hola, Luis. I still use the old API.")
        await asyncio.gather(ana.hear(message_id), luis.hear(message_id))
        message_id = await luis.write_by_socket("Hola, Ana. I don't, and hear you all the same.")
        await asyncio.gather(ana.hear(message_id), luis.hear(message_id))
    print("Each heard the other, whichever way they wrote.")


def main() -> int:
    """Run the demo; return the exit status."""
    try:
        asyncio.run(chat())
    except (ServerFailed, *FAILURES) as error:
        print(f"The demo failed: {error or type(error).__name__}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
