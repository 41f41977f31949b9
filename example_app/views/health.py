"""Whether this process takes requests, for whatever stands in front of it or looks after it."""

from typing import Any

from quart import Blueprint
from quart_schema import hide

from example_app.realtime import realtime

health = Blueprint("health", __name__)


@health.get("/health")
@hide
async def show_health() -> tuple[dict[str, Any], int]:
    """Answer 200, or 503 while this process sends its clients away.

    Without its broker or its database it answers all the same: the others would have none either,
    and nothing is won by taking all of them out of service.
    """
    state = realtime.health()
    return (
        {"draining": state.draining, "broker_up": state.broker.up},
        503 if state.draining else 200,
    )
