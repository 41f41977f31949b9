"""The example's API does what its description says, whatever it is asked; Schemathesis asks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from urllib.request import Request, urlopen

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from ..e2e.server import serving

AS_DESCRIBED = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("example")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", f"sqlite+aiosqlite:///{folder}/chat.sqlite")
        patch.setenv("JWT_SECRET_KEY", "a secret for tests, long enough for any of the algorithms")
        with serving("example_app:create_app()") as server:
            yield server.url


def log_in(url: str, name: str) -> str:
    body = json.dumps({"username": name, "password": name}).encode()
    request = Request(f"{url}/auth/login", body, {"Content-Type": "application/json"})
    with urlopen(request, timeout=10) as response:
        return str(json.load(response)["access_token"])


def each_operation(url: str, examples: int, check: Callable[[Any], None]) -> int:
    """Ask each operation of the API *examples* times, and have *check* look at each case."""
    # Who deletes her own account is nobody afterwards: tests/example has that.
    described = schemathesis.openapi.from_url(f"{url}/openapi.json")
    described = described.exclude(method="DELETE", path="/users/{user_id}")
    count = 0
    for found in described.get_all_operations():
        ask = given(case=found.ok().as_strategy())(lambda case: check(case))
        settings(
            max_examples=examples,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )(ask)()
        count += 1
    return count


def test_each_operation_does_as_described_whatever_it_is_asked(url: str) -> None:
    bearer = {"Authorization": f"Bearer {log_in(url, 'ana')}"}

    def check(case: Any) -> None:
        case.call_and_validate(headers=bearer, checks=AS_DESCRIBED)

    assert each_operation(url, 40, check) == 20


def test_without_a_token_nothing_fails(url: str) -> None:
    def check(case: Any) -> None:
        case.validate_response(case.call(), checks=[not_a_server_error])

    assert each_operation(url, 10, check) == 20
