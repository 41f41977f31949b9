"""The application factory."""

from typing import Any

from hypercorn.middleware import ProxyFixMiddleware
from quart import Quart
from werkzeug.routing import BaseConverter

from example_app import auth, errors, openapi, settings, startup
from example_app.database import Database
from example_app.realtime import realtime
from example_app.views import BLUEPRINTS
from example_app.views.health import health
from example_app.views.page import page


class IdConverter(BaseConverter):
    """Ids as this app makes them; any other text in a URL matches no route, and so is a 404."""

    regex = "[A-Za-z0-9_-]{1,64}"


def create_app(config: dict[str, Any] | None = None) -> Quart:
    """Return a chat application of its own, not yet connected to its database.

    *config* wins over the environment; `example_app.settings` lists the settings.
    Raises ValueError for a setting that can't work.
    """
    app = Quart(__name__)
    app.url_map.converters["default"] = IdConverter
    settings.load(app, config or {})
    openapi.init_app(app, tags=[blueprint.name for blueprint in BLUEPRINTS])
    app.extensions["CHAT_DATABASE"] = Database(app.config["DATABASE_URL"])
    auth.init_app(app)
    errors.init_app(app)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    app.register_blueprint(health)
    app.register_blueprint(page)
    realtime.init_app(app)
    startup.init_app(app)
    proxies = app.config["TRUSTED_PROXIES"]
    if proxies:
        # Who asks, by which scheme and for which host is what the outermost of them says.
        app.asgi_app = ProxyFixMiddleware(app.asgi_app, mode="legacy", trusted_hops=proxies)
    return app
