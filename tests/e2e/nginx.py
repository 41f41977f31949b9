"""A real nginx with deploy/nginx.conf, on free ports of the loopback address."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ..ports import free_port
from ..waiting import until_true
from .server import ROOT, Served, Server

CONFIGURATION = ROOT / "deploy" / "nginx.conf"
BOUND = 20.0
"""How many seconds it may take to do what it is told."""


def nginx_path() -> str:
    """Return where nginx is; without it a test is skipped, but fails in CI."""
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if found is None:
        reason = "there is no nginx: install the package of that name"
        if os.environ.get("CI") or os.environ.get("IN_CI"):  # The second by tox.
            pytest.fail(reason)
        pytest.skip(reason)
    return found


class Nginx(Served):
    """A process of it, in front of the apps on *ports*.

    Args:
        folder: An empty one, for its files.
        ports: Of the two apps.
        changes: What stands in the configuration, and what is to stand there instead.
    """

    def __init__(self, folder: Path, ports: Sequence[int], changes: Mapping[str, str]) -> None:
        self.folder = folder
        self.port = free_port()
        self._leaving = 0
        self.scheme = "https" if " ssl;" in "".join(changes.values()) else "http"
        text = _changed(CONFIGURATION.read_text(), changes)
        here = {
            "listen ": f"listen 127.0.0.1:{self.port}; #",
            "server app-1:8000": f"server 127.0.0.1:{ports[0]}",
            "server app-2:8000": f"server 127.0.0.1:{ports[1]}",
            "pid /run/nginx.pid;": f"pid {folder}/pid;",
            "http {": f"http {{ {_temporary(folder)}",
        }
        if self.scheme == "https":
            here["listen "] = f"listen 127.0.0.1:{self.port} ssl; #"
        text = _changed(text, here).replace("/var/log/nginx", str(folder))
        (folder / "nginx.conf").write_text(text)
        user = getpass.getuser()
        with (folder / "output").open("wb") as output:
            self.process = subprocess.Popen(
                [
                    *(nginx_path(), "-p", str(folder), "-c", str(folder / "nginx.conf")),
                    *("-e", str(folder / "early.log"), "-g", f"daemon off; user {user};"),
                ],
                stdout=output,
                stderr=output,
            )
        self._wait_until_it_listens()

    def logs(self) -> str:
        """Return all that it has written, in whatever file."""
        files = [path for path in self.folder.iterdir() if path.is_file()]
        return "".join(path.read_text() for path in files if path.name != "nginx.conf")

    def wait_for_log(self, *texts: str) -> str:
        """Return the first line of the access log that holds all of *texts*."""

        def line() -> str | None:
            lines = (self.folder / "access.log").read_text().splitlines()
            return next((each for each in lines if all(text in each for text in texts)), None)

        with suppress(TimeoutError):
            return str(until_true(line, BOUND))
        raise AssertionError(f"nothing of {texts} in the log:\n{self.logs()}")

    def reload(self) -> None:
        """Have it read its configuration anew, and wait until the new workers serve."""
        log = self.folder / "error.log"
        old = len(re.findall("start worker process ", log.read_text())) - self._leaving
        self.process.send_signal(signal.SIGHUP)
        self._leaving += old

        def all_leave() -> bool:
            return log.read_text().count("gracefully shutting down") >= self._leaving

        until_true(all_leave, BOUND)

    def take_out(self, app: Server) -> None:
        """Send no more to *app*."""
        file = self.folder / "nginx.conf"
        server = f"server 127.0.0.1:{app.port} "
        file.write_text(_changed(file.read_text(), {server: f"{server}down "}))
        self.reload()

    def stop(self) -> None:
        """End it at once."""
        self.process.terminate()
        try:
            self.process.wait(BOUND)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _wait_until_it_listens(self) -> None:
        def listens() -> bool:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return True
            return self.process.poll() is not None

        with suppress(TimeoutError):
            until_true(listens, BOUND)
            if self.process.poll() is None:
                return
        self.stop()
        raise RuntimeError(f"nginx did not start:\n{self.logs()}")


def _changed(text: str, changes: Mapping[str, str]) -> str:
    for old, new in changes.items():
        assert text.count(old) == 1, f"{old!r} is no longer in {CONFIGURATION.name}, or twice"
        text = text.replace(old, new)
    return text


def _temporary(folder: Path) -> str:
    """Return what sets where nginx keeps what is too large for its buffers."""
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return " ".join(f"{kind}_temp_path {folder / kind};" for kind in kinds)


@contextmanager
def fronting(folder: Path, ports: Sequence[int], **changes: str) -> Iterator[Nginx]:
    """Run nginx; *changes* are directives by name, each with the value it is to have."""
    text = CONFIGURATION.read_text()
    exact = {}
    for name, value in changes.items():
        (line,) = [line for line in text.splitlines() if line.strip().startswith(f"{name} ")]
        exact[line.strip()] = f"{name} {value};"
    server = Nginx(folder, ports, exact)
    try:
        yield server
    finally:
        server.stop()
