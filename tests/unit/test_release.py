"""One number for all that is released together."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

from quart_realtime import protocol

from ..documents import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NPM: dict[str, Any] = json.loads((ROOT / "package.json").read_text())


def test_the_python_package_and_the_npm_package_have_one_version() -> None:
    lock = json.loads((ROOT / "package-lock.json").read_text())
    versions = {NPM["version"], lock["version"], lock["packages"][""]["version"]}
    assert versions == {PROJECT["version"]}


def test_the_changelog_begins_with_the_version() -> None:
    (newest, *_) = re.findall(r"^## (\S+), ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest == PROJECT["version"]


def test_the_pythons_that_are_named_are_those_of_the_tests() -> None:
    named = re.findall(r"Python :: (3\.\d+)", " ".join(PROJECT["classifiers"]))
    tox = (ROOT / "tox.ini").read_text()
    assert all(f"py{version.replace('.', '')}" in tox for version in named)
    page = (ROOT / "docs" / "versions.md").read_text()
    assert f"| Python | {', '.join(named)};" in page
    assert PROJECT["requires-python"] == f">={named[0]}"


def test_both_clients_speak_the_servers_version() -> None:
    script = (ROOT / "quart_realtime" / "static" / "protocol.js").read_text()
    assert f"PROTOCOL_VERSION = {protocol.PROTOCOL_VERSION};" in script
    assert f'SUBPROTOCOL = "{protocol.SUBPROTOCOL}";' in script
    assert protocol.SUBPROTOCOLS[protocol.SUBPROTOCOL] == protocol.PROTOCOL_VERSION
