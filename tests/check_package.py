"""Install the built wheel in a new virtual environment elsewhere, and run the demo from it.

Usage: python tests/check_package.py DIRECTORY_OF_THE_WHEEL
"""

import subprocess
import sys
import tempfile
from pathlib import Path

IMPORT = """
import importlib.metadata, pathlib, sys
import example_app, quart_realtime, quart_realtime.client, quart_realtime.testing
home = pathlib.Path(sys.prefix)
for package in (example_app, quart_realtime):
    assert home in pathlib.Path(package.__file__).parents, package.__file__
for file in ("py.typed", "static/index.js", "static/inspector/inspector.html"):
    assert (pathlib.Path(quart_realtime.__file__).parent / file).exists(), file
print("quart-realtime", importlib.metadata.version("quart-realtime"), "imported from the wheel")
"""


def main(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    with tempfile.TemporaryDirectory() as place:
        environment = Path(place, "venv")
        elsewhere = Path(place, "elsewhere")
        elsewhere.mkdir()
        subprocess.run([sys.executable, "-m", "virtualenv", "-q", environment], check=True)
        python = environment / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        for command in (
            ["-m", "pip", "install", "--quiet", f"{wheel}[demo]"],
            ["-c", IMPORT],
            ["-m", "quart", "realtime", "--help"],
            ["-m", "example_app.demo"],
        ):
            subprocess.run([python, *command], cwd=elsewhere, check=True, timeout=300)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
