"""The page that people chat on."""

from pathlib import Path

from quart import Blueprint, Response, abort, make_response, render_template
from quart_schema import hide

page = Blueprint("page", __name__)

# Nothing but our own files, and no text ever taken for markup or script.
CONTENT_SECURITY_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",  # Fetches, and the websocket of the same origin.
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
)


BUILT = Path(__file__).parent.parent / "static" / "react" / "index.html"


@page.get("/")
@hide
async def chat() -> Response:
    """Show the chat; the rest happens in static/chat.js."""
    return await _secured(await render_template("chat.html"))


@page.get("/react")
@hide
async def react() -> Response:
    """Show the chat in React, where it has been built from frontend/."""
    try:
        return await _secured(BUILT.read_text(encoding="utf-8"))
    except FileNotFoundError:
        abort(404, description="The React page isn't built: npm ci && npm run react")


async def _secured(html: str) -> Response:
    response = await make_response(html)
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
