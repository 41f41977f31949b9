"""What ``python -m bench`` takes, and what it does with it."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

import bench

from . import node, store
from .chart import draw
from .machine import describe, raise_file_limit, share_cores, versions
from .peers.catalogue import PEERS
from .profiling import profile
from .report import terminal, write
from .rounds import Bench
from .scenarios import SCENARIOS

HERE = Path(__file__).resolve().parent


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=bench.__doc__)
    parser.add_argument("--only", type=_names, default=[], help="scenarios, with commas between")
    parser.add_argument("--peers", type=_names, default=[], help="peers, with commas between")
    parser.add_argument("--rounds", type=int, help="5 by default, 1 with --quick")
    parser.add_argument("--quick", action="store_true", help="measure for a short time only")
    parser.add_argument("--write", action="store_true", help="write RESULTS.md of a part too")
    parser.add_argument("--no-pin", action="store_true", help="don't give each side a core")
    parser.add_argument("--list", action="store_true", help="list scenarios and peers")
    parser.add_argument("--render", action="store_true", help="write RESULTS.md anew, as measured")
    parser.add_argument("--profile", nargs=2, metavar=("PEER", "SCENARIO"), help="with py-spy")
    return parser


def _unknown(given: list[str], known: list[str]) -> str | None:
    wrong = [name for name in given if name not in known]
    return f"unknown: {', '.join(wrong)}; known are {', '.join(known)}" if wrong else None


def main() -> None:
    """Do as the arguments say."""
    parser = _parser()
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    names = [scenario.name for scenario in SCENARIOS]
    if arguments.list:
        print("scenarios:", ", ".join(names))
        print("peers:", ", ".join(PEERS))
        return
    if arguments.render:
        kept = store.load(HERE / "results.json")
        if kept is None:
            parser.error("nothing was measured yet")
        _publish(kept)
        return
    wrong = _unknown(arguments.only, names) or _unknown(arguments.peers, list(PEERS))
    if wrong:
        parser.error(wrong)
    raise_file_limit()
    if arguments.profile:
        _profile(parser, *arguments.profile)
    else:
        _measure(arguments)


def _profile(parser: argparse.ArgumentParser, peer: str, scenario: str) -> None:
    scenarios = {each.name: each for each in SCENARIOS}
    wrong = _unknown([peer], list(PEERS)) or _unknown([scenario], list(scenarios))
    if wrong:
        parser.error(wrong)
    try:
        made = profile(PEERS[peer], scenarios[scenario], share_cores(True), HERE / "profiles")
    except FileNotFoundError as error:
        parser.error(str(error))
    print("written:", ", ".join(f"bench/profiles/{path.name}" for path in made))


def _measure(arguments: argparse.Namespace) -> None:
    cores = share_cores(not arguments.no_pin)
    chosen = [each for each in SCENARIOS if not arguments.only or each.name in arguments.only]
    node_modules, why = node.install()
    if node_modules is None:
        print(f"Node's peers are left out: {why}")
    bench = Bench(
        rounds=arguments.rounds or (1 if arguments.quick else 5),
        quick=arguments.quick,
        cores=cores,
        peers=arguments.peers,
        node_modules=node_modules,
        say=lambda line: print(line, flush=True),
    )
    results = bench.run(chosen)
    print("\n" + terminal(results, arguments.quick))
    partial = arguments.only or arguments.peers or arguments.quick
    if not partial or arguments.write:
        stored = store.Stored(
            describe(),
            versions(node_modules),
            str(cores),
            bench.others_busy,
            arguments.quick,
            bench.skipped,
            results,
        )
        _publish(stored.over(store.load(HERE / "results.json") if partial else None))


def _publish(stored: store.Stored) -> None:
    store.save(stored, HERE / "results.json")
    draw(stored.results, HERE / "results.png")
    (HERE / "RESULTS.md").write_text(write(stored))
