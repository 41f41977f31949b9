"""Who one is stays one's own, whatever others ask for at the same time."""

from __future__ import annotations

import asyncio

import pytest

from quart_realtime.client import connect

from ..e2e.server import Server
from ..e2e.sockets import Token


@pytest.mark.line(25, "two users' requests, a thousand each, interleaved")
@pytest.mark.parametrize("action", ["route", "native"])
async def test_the_identity_of_two_users_never_leaks_in_a_thousand_requests(
    server: Server, token: Token, action: str
) -> None:
    async def ask_often(user_id: str) -> None:
        async with connect(server.ws_url, token=token(user_id)) as client:
            for start in range(0, 1000, 10):
                numbers = [str(number) for number in range(start, start + 10)]
                answers = await asyncio.gather(
                    *(client.request("who", action, number=number) for number in numbers)
                )
                for number, answer in zip(numbers, answers, strict=True):
                    assert answer == {"number": number, "who": [user_id] * 3}

    async with asyncio.timeout(60):
        await asyncio.gather(ask_often("ana"), ask_often("luis"))
