"""The REST side of the example's scripts: JSON out, JSON back, with the standard library alone."""

import asyncio
import json
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

TIMEOUT = 10  # seconds for one request


class RestError(Exception):
    """The API refused: *status* and what it said."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        self.status = status
        self.message = message

    def __str__(self) -> str:
        return f"HTTP {self.status}: {self.message}"


async def post(url: str, body: dict[str, Any], token: str | None = None) -> Any:
    """Send *body* to *url* and return the answer's JSON; raises RestError or OSError."""
    return await asyncio.to_thread(_post, url, body, token)


async def log_in(url: str, username: str, password: str) -> str:
    """Return an access token from the API at *url*; raises what `post` raises."""
    login = {"username": username, "password": password}
    tokens = await post(f"{url}/auth/login", login)
    return str(tokens["access_token"])


def _post(url: str, body: dict[str, Any], token: str | None) -> Any:
    headers = {"Content-Type": "application/json"}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    request = Request(url, json.dumps(body).encode(), headers)  # noqa: S310
    try:
        with urlopen(request, timeout=TIMEOUT) as response:  # noqa: S310  # nosec B310
            return json.load(response)
    except HTTPError as error:
        with error:
            raise RestError(error.code, _message(error.read())) from None
    except URLError as error:
        raise ConnectionError(f"can't reach {url}: {error.reason}") from None


def _message(body: bytes) -> str:
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body[:200].decode(errors="replace")
