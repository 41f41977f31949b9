"""The end-to-end tests' app, and what else these need of one.

It is served by ``serving(APP, ...)``, where ``APP`` is ``"tests.resilience.app:app"``.
"""

from __future__ import annotations

from ..e2e.app import app, realtime

__all__ = ["app", "realtime"]
