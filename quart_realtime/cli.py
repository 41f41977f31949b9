"""``quart realtime …``: commands on Quart's own command line."""

from __future__ import annotations

import click

from . import contract_commands

COMMANDS: tuple[click.Command, ...] = (
    contract_commands.routes,
    contract_commands.check,
    contract_commands.asyncapi,
    contract_commands.types,
    contract_commands.client,
)
"""All commands; each module has those of one job."""


@click.group()
def realtime() -> None:
    """What an app answers and tells over its websocket."""


for _command in COMMANDS:
    realtime.add_command(_command)
