"""The example's document, before AsyncAPI's own parser."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from ..e2e.server import ROOT
from .shop import make

# There is a newer version of AsyncAPI, which tools read less.
EXPECTED = {"asyncapi-latest-version"}


def findings(document: Path) -> set[str]:
    """Return the codes of what the parser finds, and fail where it can't read the document."""
    done = subprocess.run(
        ["node", ROOT / "tests" / "contract" / "validate.mjs", document],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {line.partition(" ")[0] for line in done.stdout.splitlines()}


def test_the_examples_document_is_valid_and_made_without_serving(tmp_path: Path) -> None:
    document = tmp_path / "asyncapi.json"
    subprocess.run(
        [sys.executable, "-m", "quart", "realtime", "asyncapi", "--output", document],
        cwd=tmp_path,
        env={
            **os.environ,
            "QUART_APP": "example_app.app:create_app",
            "DATABASE_URL": f"sqlite:///{tmp_path / 'chat.sqlite'}",
            # Nobody answers there, and nobody is asked.
            "QUART_REALTIME_BROKER_URL": "redis://127.0.0.1:1/0",
        },
        check=True,
        timeout=60,
    )
    assert findings(document) <= EXPECTED
    assert not (tmp_path / "chat.sqlite").exists()


def test_a_document_with_types_that_hold_themselves_is_valid(tmp_path: Path) -> None:
    document = tmp_path / "asyncapi.json"
    make(tmp_path, answer="tuple[dict[str, list[tuple[int, str]] | None], int]")(
        "asyncapi", "--output", str(document)
    )
    assert findings(document) <= EXPECTED
