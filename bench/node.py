"""The packages that the Node peers need, in a cache directory of the user's."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

PACKAGES = ("ws", "socket.io")
INSTALL_TIMEOUT = 180.0


def install() -> tuple[Path | None, str]:
    """Install what isn't there yet.

    Returns:
        Where the packages are; or None, and why.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None, "there is no node here, or no npm"
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "quart-realtime-bench"
    modules = folder / "node_modules"
    if all((modules / name / "package.json").exists() for name in PACKAGES):
        return modules, ""
    folder.mkdir(parents=True, exist_ok=True)
    command = [npm, "install", "--prefix", str(folder), "--no-package-lock", "--no-audit"]
    try:
        done = subprocess.run(  # noqa: S603
            [*command, "--no-fund", "--silent", *PACKAGES],
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, "npm took too long"
    return (
        (modules, "") if done.returncode == 0 else (None, "npm could not install ws and socket.io")
    )
