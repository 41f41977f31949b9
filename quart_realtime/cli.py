"""``quart realtime …``: what can be done from the terminal."""

from __future__ import annotations

import click

from . import cli_client, contract_commands


@click.group()
def realtime() -> None:
    """Look at an app's realtime side, and use it."""


for command in (*contract_commands.COMMANDS, *cli_client.COMMANDS):
    realtime.add_command(command)
