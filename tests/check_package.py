"""Look into what is released, the wheel, the sdist and the npm tarball, and run it elsewhere.

Usage: python tests/check_package.py DIRECTORY_OF_THE_WHEEL_AND_THE_SDIST
"""

import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
IMPORT = """
import importlib.metadata, importlib.util, pathlib, sys
import example_app, quart_realtime, quart_realtime.client, quart_realtime.testing
home = pathlib.Path(sys.prefix)
for package in (example_app, quart_realtime):
    assert home in pathlib.Path(package.__file__).parents, package.__file__
for file in ("py.typed", "static/index.js", "static/inspector/inspector.html"):
    assert (pathlib.Path(quart_realtime.__file__).parent / file).exists(), file
assert importlib.util.find_spec("pytest_quart_realtime"), "the fixtures are missing"
print("quart-realtime", importlib.metadata.version("quart-realtime"), "imported from the wheel")
"""
TESTED_BY = ["pytest", "pytest-asyncio", "pytest-timeout", "hypothesis"]
TESTS = ["tests/unit/test_errors.py", "tests/unit/test_protocol.py", "tests/core/test_rooms.py"]
"""A part of the tests that is quick and needs little beside the package."""


def main(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    (sdist,) = dist.glob("*.tar.gz")
    check_wheel(wheel)
    with tempfile.TemporaryDirectory() as place:
        unpacked = check_sdist(sdist, Path(place))
        environment = Path(place, "venv")
        elsewhere = Path(place, "elsewhere")
        elsewhere.mkdir()
        subprocess.run([sys.executable, "-m", "virtualenv", "-q", environment], check=True)
        python = environment / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        for command, where in (
            (["-m", "pip", "install", "--quiet", f"{wheel}[demo]"], elsewhere),
            (["-c", IMPORT], elsewhere),
            (["-m", "quart", "realtime", "--help"], elsewhere),
            (["-m", "example_app.demo"], elsewhere),
            (["-m", "pip", "install", "--quiet", *TESTED_BY], elsewhere),
            (["-m", "pytest", "-q", *TESTS], unpacked),
        ):
            subprocess.run([python, *command], cwd=where, check=True, timeout=300)
        check_npm(Path(place))


def check_wheel(wheel: Path) -> None:
    """See that the wheel has the package and the example, whole, and nothing else."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    folders = {name.partition("/")[0] for name in names}
    assert {re.sub(r"-.*\.", ".", folder) for folder in folders} == {
        "pytest_quart_realtime.py",
        "quart_realtime",
        "example_app",
        "quart_realtime.dist-info",
    }, folders
    source = {
        str(path.relative_to(ROOT))
        for pattern in ("*.py", "static/*.js", "static/inspector/*")
        for path in (ROOT / "quart_realtime").glob(pattern)
    }
    assert not source - names, f"missing in the wheel: {source - names}"
    surplus = {
        name for name in names if re.search(r"tests|node|frontend|\.(ts|jsx|d\.ts)x?$", name)
    }
    assert not surplus, f"these don't belong into the wheel: {sorted(surplus)}"
    print(f"{wheel.name}: {len(names)} files")


def check_sdist(sdist: Path, place: Path) -> Path:
    """See that the sdist has all that is tested and read by tests; return it, without the package.

    The wheel was built from it, and so its package is what is to be tested.
    """
    with tarfile.open(sdist) as archive:
        archive.extractall(place, filter="data")
    unpacked = place / sdist.name.removesuffix(".tar.gz")
    found = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    under_control = (ROOT / ".git").exists()
    wanted = tracked() - {".gitignore"} if under_control else tests()
    assert not wanted - found, f"missing in the sdist: {sorted(wanted - found)}"
    made = re.compile(r"PKG-INFO|setup\.cfg|.*egg-info/")
    surplus = {name for name in found - wanted if under_control and not made.match(name)}
    assert not surplus, f"these don't belong into the sdist: {sorted(surplus)}"
    print(f"{sdist.name}: {len(found)} files")
    shutil.rmtree(unpacked / "quart_realtime")
    shutil.rmtree(unpacked / "example_app")
    return unpacked


def tracked() -> set[str]:
    """Return the files that are under version control."""
    command = ["git", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return {name for name in listed.stdout.split("\0") if name}


def tests() -> set[str]:
    """Return the files of the tests, which is what can be known without version control."""
    return {str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("*.py")}


def check_npm(place: Path) -> None:
    """Pack the npm package, and see that it has the client with its types, and nothing else."""
    npm = shutil.which("npm")
    assert npm, "there is no npm: install Node.js 20 or newer, with npm, from nodejs.org"
    if not (ROOT / "node_modules").exists():
        subprocess.run([npm, "ci", "--silent"], cwd=ROOT, check=True, timeout=300)
    packed = subprocess.run(
        [npm, "pack", "--json", "--pack-destination", place],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        timeout=300,
    )
    (package,) = json.loads(packed.stdout[packed.stdout.index(b"[\n") :])
    names = {file["path"] for file in package["files"]}
    modules = {path.stem for path in (ROOT / "quart_realtime" / "static").glob("*.js")}
    wanted = {"LICENSE", "README.md", "package.json"}
    wanted |= {f"quart_realtime/static/{module}.js" for module in modules}
    wanted |= {f"quart_realtime/static/types/{module}.d.ts" for module in modules}
    surplus = {
        name for name in names - wanted if not re.match(r"README\.\w+\.md$|.*\.d\.ts\.map$", name)
    }
    assert not wanted - names, f"missing in the npm package: {sorted(wanted - names)}"
    assert not surplus, f"these don't belong into the npm package: {sorted(surplus)}"
    print(f"{package['filename']}: {len(names)} files")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
