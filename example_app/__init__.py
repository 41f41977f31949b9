"""A chat: an ordinary Quart REST API on SQLAlchemy, made live by `example_app.realtime`.

Run it with ``python -m example_app``, or with ``hypercorn "example_app:create_app()"``; see
`example_app.settings` for its settings.
"""

from example_app.app import create_app

__all__ = ["create_app"]
