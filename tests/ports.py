"""Ports for those servers that can't choose one themselves, or need the same after a restart."""

from __future__ import annotations

import random
import socket
from pathlib import Path

LOWEST = 10_000
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
"""From which port on the kernel gives them to connections that go out."""


def free_port(beside: int = 0) -> int:
    """Return a port of the loopback address that is free, and whose number plus *beside* is too.

    Connections that go out never have it: one of the thousands that tests make would else take it
    before the server does, or while the server is away.
    """
    first = int(EPHEMERAL.read_text().split()[0]) if EPHEMERAL.exists() else 32_768
    ports = range(LOWEST, max(first - beside, LOWEST + 1_000))
    while True:
        port = random.SystemRandom().choice(ports)
        if _is_free(port) and _is_free(port + beside):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
