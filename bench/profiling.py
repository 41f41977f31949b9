"""Where a server's time goes, by py-spy: a flame graph, and the functions it is most in."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from .generator import load
from .machine import Cores
from .peers.catalogue import Peer
from .servers import ROOT, serve
from .values import Run, Scenario

SECONDS = 5
CONNECTED = 4000
"""How many sockets are opened where it is the opening that is watched."""
LISTED = 40


def profile(peer: Peer, scenario: Scenario, cores: Cores, folder: Path) -> list[Path]:
    """Load *peer* as *scenario* does, twice, and write what py-spy saw into *folder*.

    Raises:
        FileNotFoundError: py-spy is not installed.
    """
    spy = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if spy is None:
        raise FileNotFoundError("py-spy is not installed: python -m pip install py-spy")
    folder.mkdir(exist_ok=True)
    name = f"{peer.name}-{scenario.name}"
    graph, stacks, listed = (folder / f"{name}.{ending}" for ending in ("svg", "raw", "txt"))
    _record(spy, peer, scenario, cores, "flamegraph", graph)
    _record(spy, peer, scenario, cores, "raw", stacks)
    graph.write_text(_without_places(graph.read_text(), [folder, Path(spy).parent]))
    listed.write_text(_most(stacks.read_text(), f"{peer.label}: {scenario.title}"))
    stacks.unlink()
    return [graph, listed]


def _record(spy: str, peer: Peer, scenario: Scenario, cores: Cores, form: str, path: Path) -> None:
    run = next((run for run in scenario.runs if run.peer == peer.name), Run(peer.name))
    arguments = scenario.arguments | run.arguments
    if "seconds" in arguments:
        arguments["seconds"] = SECONDS + 1.0
    elif scenario.job == "connects":
        arguments["sockets"] = CONNECTED
    with serve(peer, None, cores.server) as target:
        recording = subprocess.Popen(  # noqa: S603
            [
                *[spy, "record", "--subprocesses", "--pid", str(target["nodes"][0]["pids"][0])],
                *["--duration", str(SECONDS), "--rate", "250", "--format", form],
                *["--output", str(path)],
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            load(target, scenario.job, arguments, cores)
            recording.wait(timeout=SECONDS * 4)
        finally:
            if recording.poll() is None:
                recording.kill()
            recording.wait()


def _without_places(text: str, places: list[Path]) -> str:
    """Return *text* without the directories of this machine that it names."""
    for place in [*places, Path(sys.executable).parent, ROOT]:
        text = text.replace(f"{place}/", "")
    return text


def _most(stacks: str, title: str) -> str:
    """Return the functions in which most samples were, by themselves and with what they call."""
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [_short(frame) for frame in stack.split(";")]
        own[frames[-1]] += int(count)
        for frame in set(frames):
            whole[frame] += int(count)
    total = sum(own.values()) or 1
    rows = [f"{own[each] / total:7.1%} {whole[each] / total:7.1%}  {each}" for each in _top(own)]
    return "\n".join([title, "", "   self   total  function", *rows, ""])


def _top(own: Counter[str]) -> list[str]:
    return [name for name, _ in own.most_common(LISTED)]


def _short(frame: str) -> str:
    """Return a frame without its line, and of its path only the end."""
    name, found, place = frame.partition(" (")
    if not found:
        return frame
    path = place.rstrip(")").rpartition(":")[0]
    return f"{name} ({'/'.join(Path(path).parts[-2:])})"
