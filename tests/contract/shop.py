"""A small app, written anew by each test with other annotations."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from quart.cli import ScriptInfo

from quart_realtime.cli import realtime as commands

SOURCE = '''
from typing import Literal

from attrs import frozen
from quart import Quart
from quart_jwt_extended import JWTManager, jwt_required
from quart_schema import QuartSchema, validate_request, validate_response

from quart_realtime import Realtime

app = Quart(__name__)
app.config["JWT_SECRET_KEY"] = "a secret for tests, and no other use of it"
JWTManager(app)
QuartSchema(app, conversion_preference="msgspec")
realtime = Realtime(app)


@frozen
class Order:
    """What somebody wants."""

    item: str
    amount: {amount}
    tags: list["Tag"] = []


@frozen
class Tag:
    name: str
    inner: "Tag | None" = None


@frozen
class Receipt:
    number: int
    order: Order


@app.post("/shops/<int:shop>/orders")
@jwt_required
@validate_request(Order)
@validate_response(Receipt, 201)
@realtime.handler("orders", "create")
@realtime.emits("ordered", room="shop:{{shop}}")
async def order(shop: int, data: Order) -> tuple[Receipt, int]:
    """Order something."""
    return Receipt(1, data), 201


@realtime.handler("orders", "count")
async def number_of_orders(state: Literal["new", "done"] = "new") -> {answer}:
    """Count them."""


realtime.event("sold_out", {event})


@realtime.room("shop:<int:shop>")
async def may_join(shop: int) -> bool:
    return True
'''
_numbers = count()


def make(
    directory: Path, amount: str = "int", answer: str = "int", event: str = "str"
) -> Callable[..., str]:
    """Write the app and import it; what is returned runs one of its commands."""
    name = f"shop{next(_numbers)}"
    file = directory / f"{name}.py"
    file.write_text(SOURCE.format(amount=amount, answer=answer, event=event))
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Where annotations are looked up.
    spec.loader.exec_module(module)

    def run(*words: str) -> str:
        info = ScriptInfo(create_app=lambda: module.app)
        done = CliRunner().invoke(commands, words, obj=info, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    return run
