"""The page that people chat on."""

from quart import Blueprint, Response, make_response, render_template
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


@page.get("/")
@hide
async def chat() -> Response:
    """Show the chat; the rest happens in static/chat.js."""
    response = await make_response(await render_template("chat.html"))
    response.headers["Content-Security-Policy"] = CONTENT_SECURITY_POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
