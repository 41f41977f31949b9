"""Quart-Realtime: existing Quart routes answer over a websocket, and tell what they change."""

from .broker import BrokerHealth, Presence
from .connection import Connection
from .context import current_connection
from .emissions import EmissionError
from .errors import (
    BadRequest,
    BrokerUnavailable,
    Conflict,
    Forbidden,
    InvalidPayload,
    NotFound,
    PayloadTooLarge,
    RateLimited,
    RealtimeError,
    SetupError,
    Unauthorized,
    Unavailable,
)
from .extension import Realtime
from .identity import Identity
from .protocol import CloseCode, HistoryPolicy, Notification
from .runtime import Health

__all__ = [
    "BadRequest",
    "BrokerHealth",
    "BrokerUnavailable",
    "CloseCode",
    "Conflict",
    "Connection",
    "EmissionError",
    "Forbidden",
    "Health",
    "HistoryPolicy",
    "Identity",
    "InvalidPayload",
    "NotFound",
    "Notification",
    "PayloadTooLarge",
    "Presence",
    "RateLimited",
    "Realtime",
    "RealtimeError",
    "SetupError",
    "Unauthorized",
    "Unavailable",
    "current_connection",
]
