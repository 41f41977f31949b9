"""A chat application: an ordinary Quart REST API on SQLAlchemy.

Run it with ``hypercorn "example_app:create_app()"``; see `example_app.settings` for its settings.
"""

from example_app.app import create_app

__all__ = ["create_app"]
