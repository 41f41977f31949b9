"""The order of the modules: each imports only from those above it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import quart_realtime

PACKAGE = Path(quart_realtime.__file__).parent
SERVER = [
    "errors",
    "backoff",
    "broker_url",
    "proxies",
    "settings",
    "protocol",
    "frames",
    "bookmark",
    "glimpses",
    "models",
    "schemas",
    "contract",
    "envelopes",
    "asyncapi",
    "typescript",
    "python_client",
    "options",
    "registry",
    "wrappers",
    "routes",
    "cookies",
    "deadline",
    "results",
    "handshake",
    "identity",
    "auth",
    "custom_auth",
    "limits",
    "transport",
    "inside",
    "asgi",
    "turns",
    "writing",
    "assembly",
    "deflate",
    "streaming",
    "servers",
    "stopping",
    "inbox",
    "jobs",
    "broker",
    "redis_scripts",
    "redis_servers",
    "redis_link",
    "redis_rooms",
    "redis_presence",
    "redis_once",
    "redis_broker",
    "redis_sync",
    "metrics",
    "members",
    "hub",
    "inspector",
    "inspector_link",
    "greeting",
    "heartbeat",
    "wheel",
    "lag",
    "admission",
    "subscriptions",
    "telemetry",
    "services",
    "connection",
    "visit",
    "context",
    "native",
    "signatures",
    "survey",
    "intake",
    "route_requests",
    "dispatch",
    "emissions",
    "emitter",
    "workers",
    "startup",
    "runtime",
    "door",
    "fallback",
    "inspector_pages",
    "documentation",
    "endpoint",
    "extension",
    "cli_common",
    "cli_bench",
    "cli_events",
    "cli_client",
    "contract_commands",
    "cli",
    "testing",
]
CLIENT = [
    "client_types",
    "client_listeners",
    "client_link",
    "client_requests",
    "client_rooms",
    "client_tokens",
    "client_following",
    "client",
]
"""The client stands beside the server: of it, it knows the protocol, the errors and waiting."""
SHARED = {"backoff", "errors", "protocol"}
BESIDE = {
    "testing": {"client_types"},
    "cli_common": {"client"},
    "cli_bench": {"client", "client_types"},
    "cli_client": {"client_types"},
}
"""What of the client is known to those modules of the server's that are used as clients are."""
KEPT_APART = {
    "quart_jwt_extended": {"auth"},
    "jwt": {"auth"},
    "hypercorn": {"servers", "testing"},
    "wsproto": {"servers", "deflate"},
    "quart.testing": {"servers", "testing"},
    "websockets": {"client_link"},
    "click": {
        "cli",
        "cli_bench",
        "cli_client",
        "cli_common",
        "cli_events",
        "contract_commands",
    },
    "prometheus_client": {"metrics"},
    "redis": {"redis_servers", "redis_link", "redis_sync"},
}
"""Each of these packages is known to so many modules and no others."""
PURE = {
    "asyncapi",
    "contract",
    "envelopes",
    "errors",
    "frames",
    "glimpses",
    "protocol",
    "python_client",
    "typescript",
}
"""Modules that know neither Quart nor any I/O."""


def modules() -> list[str]:
    return sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")


def imports_of(module: str) -> tuple[set[str], set[str]]:
    """Return the modules of the package that *module* imports anywhere, and all else."""
    own: set[str] = set()
    foreign: set[str] = set()
    for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 1, "the package is flat"
            own |= {node.module} if node.module else {alias.name for alias in node.names}
            continue
        else:
            continue
        own |= {
            name.partition(".")[2].partition(".")[0] or "__init__"
            for name in names
            if name.partition(".")[0] == "quart_realtime"
        }
        foreign |= {name for name in names if name.partition(".")[0] != "quart_realtime"}
    return own, foreign


def test_every_module_has_its_place_in_the_order() -> None:
    assert set(modules()) == {*SERVER, *CLIENT}


def test_the_package_is_flat() -> None:
    assert not [path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE]


@pytest.mark.parametrize("module", SERVER)
def test_a_module_of_the_server_imports_only_those_above_it(module: str) -> None:
    allowed = set(SERVER[: SERVER.index(module)])
    allowed |= BESIDE.get(module, set())
    assert imports_of(module)[0] <= allowed


@pytest.mark.parametrize("module", CLIENT)
def test_a_module_of_the_client_imports_only_those_above_it_and_the_protocol(module: str) -> None:
    assert imports_of(module)[0] <= {*CLIENT[: CLIENT.index(module)], *SHARED}


def test_the_package_itself_imports_the_server_alone() -> None:
    assert imports_of("__init__")[0] <= set(SERVER) - {"testing"}


@pytest.mark.parametrize("package", KEPT_APART)
def test_a_package_that_is_kept_apart_is_known_where_it_may_be_and_nowhere_else(
    package: str,
) -> None:
    knowing = {
        module
        for module in modules()
        if any(f"{name}.".startswith(f"{package}.") for name in imports_of(module)[1])
    }
    assert knowing <= KEPT_APART[package]


@pytest.mark.parametrize("module", sorted(PURE))
def test_a_pure_module_knows_no_io_and_no_quart(module: str) -> None:
    roots = {name.partition(".")[0] for name in imports_of(module)[1]}
    assert not roots & {"asyncio", "quart", "werkzeug", "socket", "logging", "time"}
