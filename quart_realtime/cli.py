"""``quart realtime …``: commands on Quart's own command line."""

from __future__ import annotations

import click

from . import cli_client, contract_commands


@click.group()
def realtime() -> None:
    """What an app answers and tells over its websocket."""


for command in (*contract_commands.COMMANDS, *cli_client.COMMANDS):
    realtime.add_command(command)
