"""What must be right before an app serves: every check that is made at start-up."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

from attrs import fields
from quart import Quart

from .errors import SetupError
from .identity import Authenticator
from .intake import Intake, check_native, intake_of
from .native import NativeHandler
from .registry import Handler, Registry, describe
from .routes import Resolutions, resolve
from .settings import PREFIX, Settings
from .workers import worker_count

logger = logging.getLogger("quart_realtime")

T = TypeVar("T")
Natives = dict[tuple[str, str], NativeHandler]
Intakes = dict[tuple[str, str], Intake]


def check(
    app: Quart, registry: Registry, settings: Settings, authenticator: Authenticator
) -> tuple[Resolutions, Natives, Intakes]:
    """Check what was declared, against the app as it is when it starts.

    Returns:
        The handlers with their routes, those without one ready to be called, and what the routes
        of the others read.

    Raises:
        SetupError: the app is put together wrongly. It lists every mistake.
    """
    problems: list[str] = []

    def attempt(make: Callable[[], T]) -> T | None:
        try:
            return make()
        except SetupError as error:
            problems.extend(error.problems)
            return None

    attempt(lambda: authenticator.check_setup(settings))
    attempt(lambda: _check_settings(app, settings))
    resolved, unresolved = resolve(app, registry)
    problems.extend(unresolved)
    natives: Natives = {}
    intakes: Intakes = {}
    for key, item in resolved.items():
        if item.route is None:
            native = attempt(partial(_native, item.handler))
            if native is not None:
                natives[key] = native
        else:
            intake = attempt(partial(intake_of, app, item.handler, item.route))
            if intake is not None:
                intakes[key] = intake
    problems.extend(registry.unheard_listeners())
    problems.extend(registry.misspelt_emissions())
    problems.extend(registry.unreadable_rooms())
    problems.extend(registry.uncallable_hooks())
    problems.extend(_roomless_events(registry, settings))
    if problems:
        raise SetupError(*problems)
    _look_for_other_workers(settings)
    if natives:
        logger.info(
            "these handlers have no route, and no guard but the login: %s",
            ", ".join(resolved[key].handler.name for key in natives),
        )
    return resolved, natives, intakes


def _native(handler: Handler) -> NativeHandler:
    native = NativeHandler(handler)
    check_native(handler)
    return native


def _check_settings(app: Quart, settings: Settings) -> None:
    now = Settings.from_config(app.config)
    changed = [
        PREFIX + item.name.upper()
        for item in fields(Settings)
        if getattr(now, item.name) != getattr(settings, item.name)
    ]
    if changed:
        raise SetupError(
            f"{', '.join(changed)} was changed after Realtime(app), which had read it: set it "
            "before, or call realtime.init_app(app) after."
        )


def _roomless_events(registry: Registry, settings: Settings) -> Iterator[str]:
    """Complain of events for everyone where that is forbidden, and else list them in the log."""
    names = registry.events_for_everyone()
    if settings.require_room:
        for name in names:
            where = [describe(each.function) for each in registry.emissions if each.event == name]
            yield (
                f'emits("{name}") says no room at {", ".join(where)}, and '
                "QUART_REALTIME_REQUIRE_ROOM is set: write room=… there or in realtime.event(…)."
            )
    elif names:
        logger.warning(
            "these events say no room and go to everyone who is logged in: %s", ", ".join(names)
        )


def _look_for_other_workers(settings: Settings) -> None:
    workers = worker_count()
    if workers > 1 and settings.broker_url == "memory://":
        logger.error(
            "The server runs %d workers, but each has a broker of its own: events, presence and "
            "requests with a key stay within one worker. Set QUART_REALTIME_BROKER_URL to a Redis "
            'or Valkey that they share, such as "redis://localhost:6379/0", or run one worker.',
            workers,
        )
