"""Try a running server: ``python -m example_app.client`` lists, writes, and waits for the event."""

import argparse
import asyncio
import sys
from urllib.parse import urlsplit

from example_app import rest
from quart_realtime.client import (
    Client,
    Closed,
    ConnectionLost,
    RealtimeError,
    RequestTimedOut,
    connect,
)

PATIENCE = 10  # seconds for the whole of it
FAILURES = (
    Closed,
    ConnectionLost,
    OSError,
    RealtimeError,
    RequestTimedOut,
    TimeoutError,
    rest.RestError,
    ValueError,
)


async def try_out(url: str, username: str, password: str) -> None:
    """Go through the round on the websocket at *url*, and print what happens."""
    token = await rest.log_in(api_of(url), username, password)
    async with asyncio.timeout(PATIENCE), connect(url, token=token) as client:
        print(f"connected as {client.user_id}")
        conversation_id = await _show_conversations(client)
        await _write_and_hear(client, conversation_id)


async def _show_conversations(client: Client) -> str:
    page = await client.request("conversations", "get_all", user_id=client.user_id)
    print(f"{len(page['conversations'])} conversation(s):")
    for conversation in page["conversations"]:
        print(f"  {conversation['id']}  {conversation['title']}")
    if page["conversations"]:
        return str(page["conversations"][0]["id"])
    created = await client.request("conversations", "create", conversation={"title": "Notes"})
    print(f"  started {created['conversation']['id']}")
    return str(created["conversation"]["id"])


async def _write_and_hear(client: Client, conversation_id: str) -> None:
    heard = client.events()
    new = {
        "conversation_id": conversation_id,
        "content": "Hola mundo",
        "sender_id": client.user_id,
    }
    answer = await client.request("messages", "create", message=new)
    message = answer["message"]
    print(f"wrote {message['id']}: {message['content']}")
    async for event in heard:
        if event.type == "new_message" and event.data["id"] == message["id"]:
            print(f"heard {event.type} of {event.data['id']} in {event.room}")
            return


def api_of(url: str) -> str:
    """Return the address of the REST API beside the websocket at *url*."""
    parts = urlsplit(url)
    if parts.scheme not in ("ws", "wss"):
        raise ValueError(f"{url} is no address of a websocket, such as ws://localhost:8000/ws")
    scheme = "https" if parts.scheme == "wss" else "http"
    return f"{scheme}://{parts.netloc}{parts.path.removesuffix('/ws')}"


def main(arguments: list[str] | None = None) -> int:
    """Try the server that *arguments* name; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m example_app.client", description="Try a running server."
    )
    parser.add_argument("--url", default="ws://localhost:8000/ws", help="default: %(default)s")
    parser.add_argument("--username", default="ana", help="default: %(default)s")
    parser.add_argument("--password", default="ana", help="default: %(default)s")
    options = parser.parse_args(arguments)
    try:
        asyncio.run(try_out(options.url, options.username, options.password))
    except FAILURES as error:
        print(f"failed: {error or type(error).__name__}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
