"""``quart realtime …``: commands on Quart's own command line."""

from __future__ import annotations

import click

from . import cli_client

COMMANDS: tuple[click.Command, ...] = (*cli_client.COMMANDS,)
"""All commands; each module has those of one job."""


@click.group()
def realtime() -> None:
    """What an app answers and tells over its websocket."""


for _command in COMMANDS:
    realtime.add_command(_command)
