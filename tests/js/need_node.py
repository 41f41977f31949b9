"""Says what to install where the JavaScript client's tests have no Node.js to run on."""

import shutil
import subprocess
import sys

OLDEST = 20


def main() -> str | None:
    """Return what is missing."""
    if not (shutil.which("node") and shutil.which("npm")):
        return f"there is no Node.js: install {OLDEST} or newer, with npm, from nodejs.org"
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
    if int(version.stdout.removeprefix("v").partition(".")[0]) < OLDEST:
        return f"Node.js is {version.stdout.strip()}, but {OLDEST} or newer is needed"
    return None


if __name__ == "__main__":
    sys.exit(main())
