"""The websocket protocol to the letter: the families of Autobahn's cases, and Autobahn itself."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

import pytest

from ..e2e.raw_socket import (
    BINARY,
    BOUND,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    RSV1,
    RSV2,
    RSV3,
    TEXT,
    RawSocket,
    close,
    frame,
    raw_socket,
)
from ..e2e.server import Server, serving

ECHO = "tests.e2e.echo:app"
MASK = b"\x37\xfa\x21\x3d"

pytestmark = pytest.mark.lane("fast")
"""Hypercorn's own websockets fail in some of these."""


@pytest.fixture(scope="module")
def echo() -> Iterator[Server]:
    with serving(ECHO) as server:
        yield server
        assert "plain ASGI" not in "".join(server.log)
        assert "Traceback" not in "".join(server.log)


class Case(NamedTuple):
    """What is sent, what must come back for it, and the code of the close that ends it.

    The client closes with 1000 at the end, unless the server has closed by then or *sent* does.
    """

    name: str
    sent: list[bytes]
    heard: list[tuple[int, bytes]]
    code: int = 1000
    closes: bool = False


def parts(opcode: int, *payloads: bytes) -> list[bytes]:
    """Encode a message in fragments."""
    last = len(payloads) - 1
    return [
        frame(CONTINUATION if place else opcode, payload, fin=place == last, mask=MASK)
        for place, payload in enumerate(payloads)
    ]


def sizes() -> Iterator[Case]:
    for opcode, size in product((TEXT, BINARY), (0, 1, 125, 126, 127, 128, 65_535, 65_536)):
        data = b"*" * size
        yield Case(f"{size} of {opcode}", [frame(opcode, data, mask=MASK)], [(opcode, data)])
        whole = frame(opcode, data, mask=MASK)
        chops = [whole[place : place + 997] for place in range(0, len(whole), 997)]
        yield Case(f"{size} of {opcode} in chops", chops, [(opcode, data)])


def large_messages() -> Iterator[Case]:
    for opcode, size in product((TEXT, BINARY), (65_536, 262_144, 1_048_576)):
        data = b"*" * size
        yield Case(f"{size} of {opcode}", [frame(opcode, data)], [(opcode, data)])
        for part in (1024, 65_536):
            pieces = [data[place : place + part] for place in range(0, size, part)]
            name = f"{size} of {opcode} in fragments of {part}"
            yield Case(name, [b"".join(parts(opcode, *pieces))], [(opcode, data)])


def pings() -> Iterator[Case]:
    for data in (b"", b"Hello, world!", bytes([0, 255, 254, 253, 252, 251, 0, 255]), b"\xfe" * 125):
        ping = frame(PING, data, mask=MASK)
        yield Case(f"ping {data!r}", [ping], [(PONG, data)])
        octets = [bytes([octet]) for octet in ping]
        yield Case(f"ping {data!r} octet by octet", octets, [(PONG, data)])
        yield Case(f"unsolicited pong {data!r}", [frame(PONG, data), ping], [(PONG, data)])
    yield Case("an oversized ping", [frame(PING, b"\xfe" * 126)], [], 1002)
    yield Case("an oversized pong", [frame(PONG, b"\xfe" * 126)], [], 1002)
    many = [f"payload-{number}".encode() for number in range(10)]
    sent = [frame(PING, data) for data in many]
    heard = [(PONG, data) for data in many]
    yield Case("10 pings", sent, heard)
    yield Case("10 pings in one piece", [b"".join(sent)], heard)
    yield Case("10 pings octet by octet", [bytes([octet]) for octet in b"".join(sent)], heard)


def reserved() -> Iterator[Case]:
    hello = frame(TEXT, b"Hello")
    then = [(TEXT, b"Hello")]
    for rsv in (RSV1, RSV2, RSV3, RSV1 | RSV2, RSV1 | RSV3, RSV2 | RSV3, RSV1 | RSV2 | RSV3):
        for opcode in (TEXT, BINARY, PING, CLOSE):
            sent = frame(opcode, b"\x03\xe8", rsv=rsv)
            yield Case(f"bits {rsv:#x} of {opcode}", [sent], [], 1002)
        later = hello + frame(TEXT, b"Hello", rsv=rsv) + frame(PING)
        yield Case(f"bits {rsv:#x} later", [later], then, 1002)
    for opcode in (3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF):
        for data in (b"", b"reserved"):
            yield Case(f"opcode {opcode} {data!r}", [frame(opcode, data)], [], 1002)
        later = hello + frame(opcode, b"reserved") + frame(PING)
        yield Case(f"opcode {opcode} later", [later], then, 1002)
    yield Case("no mask", [frame(TEXT, b"Hello", mask=None)], [], 1002)
    yield Case("a long form of a short length", [b"\x81\xfe\x00\x05" + MASK + b"Hello"], [], 1002)


def fragments() -> Iterator[Case]:
    for opcode in (PING, PONG):
        broken = frame(opcode, b"a", fin=False) + frame(CONTINUATION, b"b")
        yield Case(f"a fragmented {opcode}", [broken], [], 1002)
    for opcode in (TEXT, BINARY):
        two, five = parts(opcode, b"one", b"two"), parts(opcode, b"1", b"", b"3", b"4", b"5")
        ping = frame(PING, b"amid")
        amid, whole = (PONG, b"amid"), (opcode, b"onetwo")
        yield Case(f"two of {opcode}", two, [whole])
        yield Case(f"two of {opcode} with a ping", [two[0], ping, two[1]], [amid, whole])
        yield Case(f"the same at once {opcode}", [two[0] + ping + two[1]], [amid, whole])
        sent = [*five[:2], ping, *five[2:4], ping, five[4]]
        heard = [amid, amid, (opcode, b"1345")]
        yield Case(f"five of {opcode} with pings", sent, heard)
        yield Case(f"five of {opcode} at once", [b"".join(sent)], heard)
        octets = [bytes([octet]) for octet in b"".join(sent)]
        yield Case(f"five of {opcode} octet by octet", octets, heard)
        yield Case(f"three empty ones of {opcode}", parts(opcode, b"", b"", b""), [(opcode, b"")])
        yield Case(f"{opcode} amid a message", [two[0], frame(opcode, b"x")], [], 1002)
        more = [*two, frame(CONTINUATION, b"more")]
        yield Case(f"more than {opcode} has", more, [whole], 1002)
    for fin in (True, False):
        alone = frame(CONTINUATION, b"alone", fin=fin) + frame(TEXT, b"Hello")
        yield Case(f"a continuation of nothing, {fin}", [alone], [], 1002)


VALID = [
    "",
    "Hello-µ@ßöäüàá-UTF-8!!",
    "κόσμε",
    "\0\x7f\x80\u07ff\u0800\uffff",
    "\U00010000\U0010ffff",
    "\ud7ff\ue000\ufffd\ufffe",
    "\U0001fffe\U0010fffe",
]
INVALID = [
    b"\x80",
    b"\xbf",
    b"\x80\xbf\x80\xbf",
    bytes(range(0x80, 0xC0)),
    b"\xc0 \xc1 \xc2 ",
    b"\xe0 \xe1 ",
    b"\xf0 \xf1 ",
    b"\xf8 \xf9 ",
    b"\xfc \xfd ",
    b"\xc0",
    b"\xe0\x80",
    b"\xf0\x80\x80",
    b"\xc0\xaf",
    b"\xe0\x80\xaf",
    b"\xf0\x80\x80\xaf",
    b"\xf8\x80\x80\x80\xaf",
    b"\xc1\xbf",
    b"\xe0\x9f\xbf",
    b"\xf0\x8f\xbf\xbf",
    b"\xed\xa0\x80",
    b"\xed\xaf\xbf",
    b"\xed\xa0\x80\xed\xb0\x80",
    b"\xf4\x90\x80\x80",
    b"\xf5",
    b"\xfe",
    b"\xff",
    "κόσμε".encode() + b"\xed\xa0\x80edited",
]


def texts() -> Iterator[Case]:
    for text in VALID:
        data = text.encode()
        octets = [data[place : place + 1] for place in range(len(data))] or [b""]
        heard = [(TEXT, data)]
        yield Case(f"{text!a}", [frame(TEXT, data, mask=MASK)], heard)
        yield Case(f"{text!a} in fragments of an octet", parts(TEXT, *octets), heard)
        joined = b"".join(parts(TEXT, *octets))
        yield Case(f"{text!a} octet by octet", [bytes([octet]) for octet in joined], heard)
    for data in INVALID:
        octets = [data[place : place + 1] for place in range(len(data))]
        yield Case(f"{data!r}", [frame(TEXT, data, mask=MASK)], [], 1007)
        # At once: the rest may not come where the server has hung up already.
        sent = [b"".join(parts(TEXT, *octets))]
        yield Case(f"{data!r} in fragments of an octet", sent, [], 1007)
        # It must not wait for the rest.
        unfinished = frame(TEXT, b"Hello" + data + b" ", fin=False)
        yield Case(f"{data!r} unfinished", [unfinished], [], 1007)
        claimed = frame(TEXT, data + b" ", length=len(data) + 100)
        yield Case(f"{data!r} in an unfinished frame", [claimed], [], 1007)
        yield Case(f"{data!r} as binary", [frame(BINARY, data)], [(BINARY, data)])
    for data in ("€".encode()[:2], "\U0001f600".encode()[:3]):
        yield Case(f"{data!r} cut", [frame(TEXT, data)], [], 1007)


def closes() -> Iterator[Case]:
    hello, said = frame(TEXT, b"Hello"), [(TEXT, b"Hello")]
    last = close(1000)
    yield Case("close", [hello, last], said, closes=True)
    yield Case("close twice", [last + last], [], closes=True)
    yield Case("ping after close", [last + frame(PING)], [], closes=True)
    yield Case("text after close", [last + hello], [], closes=True)
    yield Case("close amid a message", [parts(TEXT, b"a", b"b")[0], last], [], closes=True)
    after = [parts(TEXT, b"a", b"b")[0], last + parts(TEXT, b"a", b"b")[1]]
    yield Case("the rest after close", after, [], closes=True)
    large = frame(TEXT, b"*" * 262_144)
    yield Case("a large message, then close", [large + last], [(TEXT, b"*" * 262_144)], closes=True)
    yield Case("close octet by octet", [bytes([octet]) for octet in last], [], closes=True)
    yield Case("close says nothing", [frame(CLOSE)], [], 1005, closes=True)
    yield Case("half a code", [frame(CLOSE, b"\x03")], [], 1002)
    yield Case("a reason", [close(1000, b"Hello")], [], closes=True)
    yield Case("the longest reason", [close(1000, b"*" * 123)], [], closes=True)
    yield Case("too long a reason", [close(1000, b"*" * 124)], [], 1002)
    yield Case("a reason that is no text", [close(1000, b"\xce\xba\xed\xa0\x80")], [], 1007)
    for code in (*range(1000, 1004), *range(1007, 1014), 3000, 3999, 4000, 4999):
        yield Case(f"code {code}", [close(code)], [], code, closes=True)
    for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535):
        for reason in (b"", b"reason"):
            yield Case(f"code {code} {reason!r}", [close(code, reason)], [], 1002)


FAMILIES = [sizes, large_messages, pings, reserved, fragments, texts, closes]


async def play(raw: RawSocket, case: Case) -> None:
    """See that the server does as *case* says."""
    for data in case.sent:
        await raw.send(data)
        # A turn for each, so that they go out as they are cut.
        await asyncio.sleep(0)
    heard = [await raw.read() for _ in case.heard]
    assert [(got.opcode, got.payload) for got in heard] == case.heard
    if case.code == 1000 and not case.closes:
        await raw.send(close(1000))
    got = await raw.read()
    assert (got.opcode, got.code) == (CLOSE, case.code)
    await raw.dropped()


@pytest.mark.line(44, "Autobahn's cases, written anew")
@pytest.mark.parametrize("family", FAMILIES)
async def test_each_case_of_the_family_goes_as_the_protocol_says(
    echo: Server, family: Callable[[], Iterator[Case]]
) -> None:
    failed: dict[str, str] = {}
    for case in family():
        try:
            async with raw_socket(echo.port, path="/") as raw:
                async with asyncio.timeout(BOUND):
                    await play(raw, case)
        except (AssertionError, EOFError, OSError, TimeoutError) as error:
            failed[case.name] = f"{type(error).__name__} {error}"[:300]
    assert not failed


# Autobahn itself, which runs on Python 2.7 alone


SECTIONS = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"]
GOOD = {"OK", "NON-STRICT", "INFORMATIONAL"}


def find_autobahn(cache: Path) -> str:
    """Return Autobahn's command: $AUTOBAHN, or wstest, or one that pip installs into *cache*."""
    if found := os.environ.get("AUTOBAHN") or shutil.which("wstest"):
        return found
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    # Pyenv's own first: what it puts on the path may be for another version alone.
    pythons = [*map(str, pyenv.glob("versions/2.7.*/bin/python2.7")), shutil.which("python2.7")]
    python = next((python for python in pythons if python is not None), None)
    if python is None:
        pytest.skip("there is no python2.7, which Autobahn's suite needs, and no $AUTOBAHN")
    venv = cache / "venv"
    command = venv / "bin" / "wstest"
    if not command.exists():
        shutil.rmtree(venv, ignore_errors=True)
        tools = cache / "tools"
        install = [python, "-m", "pip", "install", "--quiet"]
        bare = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        with_tools = {**bare, "PYTHONPATH": str(tools)}
        for step, environment in (
            ([*install, "--target", str(tools), "virtualenv<20.16"], bare),
            ([python, "-m", "virtualenv", "--quiet", str(venv)], with_tools),
            ([str(venv / "bin/pip"), "install", "--quiet", "autobahntestsuite==25.10.1"], bare),
        ):
            try:
                subprocess.run(step, env=environment, capture_output=True, check=True, timeout=120)
            except (OSError, subprocess.SubprocessError) as error:
                shutil.rmtree(venv, ignore_errors=True)
                pytest.skip(f"Autobahn's suite can't be installed: {error}")
    return str(command)


async def fuzz(command: str, url: str, cases: str, directory: Path) -> dict[str, dict[str, str]]:
    """Run Autobahn's fuzzing client; return what it found, by case."""
    spec = {
        "outdir": str(directory),
        "servers": [{"agent": "echo", "url": url}],
        "cases": [cases],
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    directory.joinpath("spec.json").write_text(json.dumps(spec))
    process = await asyncio.create_subprocess_exec(
        *(command, "-m", "fuzzingclient", "-s", str(directory / "spec.json")),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    )
    try:
        async with asyncio.timeout(90):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return dict(json.loads((directory / "index.json").read_text())["echo"])


@pytest.mark.line(44, "Autobahn's suite")
@pytest.mark.timeout(500)
async def test_autobahns_suite_finds_no_failure(
    echo: Server, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    cache = getattr(pytestconfig, "cache", None)
    command = find_autobahn(tmp_path if cache is None else cache.mkdir("autobahn"))
    url = f"ws://127.0.0.1:{echo.port}"
    for place in range(len(SECTIONS)):
        tmp_path.joinpath(str(place)).mkdir()
    # It waits most of the time.
    runs = [
        fuzz(command, url, cases, tmp_path / str(place)) for place, cases in enumerate(SECTIONS)
    ]
    found = {case: verdict for run in await asyncio.gather(*runs) for case, verdict in run.items()}
    print(Counter(verdict["behavior"] for verdict in found.values()))
    assert len(found) >= 240
    failed = {
        case: (verdict["behavior"], verdict["behaviorClose"])
        for case, verdict in found.items()
        if not {verdict["behavior"], verdict["behaviorClose"]} <= GOOD
    }
    assert not failed
