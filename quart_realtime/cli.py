"""``quart realtime …``: what can be done from the terminal."""

from __future__ import annotations

import click

from .cli_client import COMMANDS


@click.group()
def realtime() -> None:
    """Look at an app's realtime side, and use it."""


for command in COMMANDS:
    realtime.add_command(command)
