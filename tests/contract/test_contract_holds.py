"""From the Python signature to the call: what is changed in one is changed in the other."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from ..e2e.server import ROOT
from .shop import make

TSC = ROOT / "node_modules" / ".bin" / "tsc"
CLIENT = ROOT / "quart_realtime" / "static" / "index.js"
TSCONFIG = {
    "compilerOptions": {
        "target": "ES2022",
        "module": "NodeNext",
        "moduleResolution": "NodeNext",
        "lib": ["ES2023", "DOM"],
        "types": [],
        "strict": True,
        "noEmit": True,
        "allowJs": True,
        "skipLibCheck": True,
        "pretty": False,
    },
    "include": ["*.ts"],
}
HEAD = """\
import {{ createWebSocketClient }} from "{client}";
import type {{ Api, RoomName }} from "./{api}.js";
export const client = createWebSocketClient<Api>("token");
"""


def compile_in(directory: Path) -> dict[str, list[str]]:
    """Return what ``tsc`` finds wrong with each program in *directory*: ``line: error``."""
    (directory / "package.json").write_text('{"type": "module"}')
    (directory / "tsconfig.json").write_text(json.dumps(TSCONFIG))
    done = subprocess.run(
        [TSC, "-p", "."], cwd=directory, capture_output=True, text=True, timeout=110, check=False
    )
    found: dict[str, list[str]] = {}
    for name, line, error in re.findall(
        r"^(\S+)\.ts\((\d+),\d+\): (.*)$", done.stdout, re.MULTILINE
    ):
        found.setdefault(name, []).append(f"{int(line) - HEAD.count(chr(10))}: {error}")
    return found


PYTHON_HEAD = """\
from api import Api, Order, Receipt
from quart_realtime.client import connect


async def main() -> None:
    async with connect("ws://localhost:8000/ws", "token") as client:
        api = Api(client)
"""


def checked(directory: Path, **programs: str) -> dict[str, set[int]]:
    """Return in which lines of *programs* ``mypy --strict`` finds errors, beside ``api.py``."""
    for name, program in programs.items():
        body = "".join(f"        {line}\n" for line in program.splitlines())
        (directory / f"{name}.py").write_text(PYTHON_HEAD + body)
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent"]
    files = [f"{name}.py" for name in ("api", *programs)]
    done = subprocess.run(
        [*command, "--config-file=", f"--cache-dir={directory / 'cache'}", *files],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        env={"PATH": "", "MYPYPATH": str(ROOT)},
    )
    found: dict[str, set[int]] = {}
    for name, line in re.findall(r"^(\w+)\.py:(\d+): error: ", done.stdout, re.MULTILINE):
        found.setdefault(name, set()).add(int(line) - PYTHON_HEAD.count("\n"))
    assert done.returncode == bool(found), done.stdout + done.stderr
    return found


def test_an_annotation_that_is_changed_changes_all_that_is_made_of_it(tmp_path: Path) -> None:
    before = make(tmp_path, amount="int", answer="int", event="str")
    after = make(tmp_path, amount="str | None", answer='dict[str, Literal["a"]]', event="Tag")

    old, new = (json.loads(run("asyncapi")) for run in (before, after))
    payloads = {
        name: [
            document["channels"]["realtime"]["messages"][name]["payload"]["properties"]["payload"]
            for document in (old, new)
        ]
        for name in ("orders.create.request", "orders.count.response")
    }
    assert [asked["properties"]["amount"] for asked in payloads["orders.create.request"]] == [
        {"type": "integer"},
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
    ]
    assert [answer["type"] for answer in payloads["orders.count.response"]] == ["integer", "object"]

    old_types, new_types = before("types"), after("types")
    assert "amount: number;" in old_types
    assert "amount: string | null;" in new_types
    assert "response: number;" in old_types
    assert 'response: { [key: string]: "a"; };' in new_types
    assert "sold_out: string;" in old_types
    assert "sold_out: Tag;" in new_types

    old_client, new_client = before("client"), after("client")
    assert "amount: int\n" in old_client
    assert "amount: str | None\n" in new_client
    assert "-> int:" in old_client
    assert '-> dict[str, Literal["a"]]:' in new_client
    assert "callback: Callable[[str], object]," in old_client
    assert "callback: Callable[[Tag], object]," in new_client


GOOD_PROGRAM = """\
const receipt = await client.send("orders", "create", { shop: 1, item: "tea", amount: 2 });
receipt.order.amount satisfies number;
receipt.order.tags[0]?.inner?.name satisfies string | undefined;
(await client.send("orders", "count", { state: "done" })) satisfies number;
client.on("ordered", ({ number }) => number satisfies number);
client.subscribe("shop:1" satisfies RoomName).on("sold_out", (item) => item.length);
"""
WRONG_PROGRAM = """\
client.send("order", "create", {});
client.send("orders", "crate", {});
client.send("orders", "create", { shop: 1, item: "tea" });
client.send("orders", "count", { state: "old" });
client.on("sold", () => {});
client.on("sold_out", (item) => item.nothing);
"shop" satisfies RoomName;
"""


def test_a_program_compiles_against_the_types_of_its_app_and_a_wrong_call_does_not(
    tmp_path: Path,
) -> None:
    (tmp_path / "api.ts").write_text(make(tmp_path)("types"))
    (tmp_path / "changed.ts").write_text(make(tmp_path, amount="str")("types"))
    for name, api, program in (
        ("good", "api", GOOD_PROGRAM),
        ("wrong", "api", WRONG_PROGRAM),
        ("outdated", "changed", GOOD_PROGRAM),
    ):
        head = HEAD.format(client=CLIENT.as_posix(), api=api)
        (tmp_path / f"{name}.ts").write_text(head + program)
    found = compile_in(tmp_path)
    assert set(found) == {"wrong", "outdated"}
    for error, expected in zip(
        found["wrong"],
        [
            """1: .* '"order"' is not assignable to parameter of type '"orders"'""",
            """2: .* '"crate"' is not assignable to parameter of type""",
            "3: .* '{ shop: number; item: string; }' is not assignable to parameter of type",
            """4: .* '"old"' is not assignable to type""",
            """5: .* '"sold"' is not assignable to parameter of type""",
            "6: .* Property 'nothing' does not exist on type 'string'",
            "7: .* does not satisfy the expected type",
        ],
        strict=True,
    ):
        assert re.match(expected, error), error
    assert found["outdated"] == [
        "1: error TS2322: Type 'number' is not assignable to type 'string'.",
        "2: error TS1360: Type 'string' does not satisfy the expected type 'number'.",
    ]


GOOD_CALLS = """\
receipt: Receipt = await api.orders.create({"shop": 1, "item": "tea", "amount": 2})
number: int = receipt["order"]["amount"] + await api.orders.count({"state": "done"})
api.on("sold_out", lambda item: item.upper())
"""
WRONG_CALLS = """\
await api.order.create({})
await api.orders.create({"shop": 1, "item": "tea"})
await api.orders.count({"state": "old"})
api.on("sold", print)
order: Order = await api.orders.create({"shop": 1, "item": "tea", "amount": 2})
"""


def test_the_python_client_is_strictly_typed_and_written_as_ruff_does(tmp_path: Path) -> None:
    (tmp_path / "api.py").write_text(make(tmp_path)("client"))
    found = checked(tmp_path, good=GOOD_CALLS, wrong=WRONG_CALLS)
    assert found == {"wrong": {1, 2, 3, 4, 5}}
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent))
    assert ruff is not None
    command = [ruff, "format", "--isolated", "--diff", "api.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == ""
