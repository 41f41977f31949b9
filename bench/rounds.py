"""Running scenarios: rounds, and in each round every peer in turn."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from .generator import JobFailed, measure
from .machine import Cores
from .peers.catalogue import PEERS
from .processes import ServerFailed
from .values import Outcome, Results, Run, Scenario

DISTURBED = 0.15
"""The share of a core beyond which what else runs is said to have disturbed a measurement."""
TRIES = 3
"""How often a measurement that was disturbed is made at most; the least disturbed one counts."""


def _disturbance(outcome: dict[str, float]) -> float:
    """Return the share of a core that neither the server nor the generator took."""
    return outcome.get("others_busy", 0.0)


class Bench:
    """Runs scenarios.

    Args:
        rounds: How often each run is repeated.
        quick: Whether to measure for a short time only.
        cores: Who runs where.
        peers: Which peers to measure; all when empty.
        node_modules: Where the packages from npm are, if they are.
        say: Where progress goes.
    """

    def __init__(
        self,
        *,
        rounds: int,
        quick: bool,
        cores: Cores,
        peers: Collection[str],
        node_modules: Path | None,
        say: Callable[[str], None],
    ) -> None:
        self._rounds = rounds
        self._quick = quick
        self._cores = cores
        self._peers = peers
        self._node_modules = node_modules
        self._say = say
        self.skipped: dict[str, str] = {}
        self.others_busy = 0.0

    def run(self, scenarios: Sequence[Scenario]) -> Results:
        """Run *scenarios*, one after the other."""
        return {scenario.name: self._scenario(scenario) for scenario in scenarios}

    def _scenario(self, scenario: Scenario) -> dict[str, Outcome]:
        runs = [run for run in scenario.runs if self._takes_part(run)]
        outcomes = {run.name: Outcome() for run in runs}
        for number in range(self._rounds):
            # Everybody moves up by one each round, so that nobody always follows the same one.
            turn = number % max(1, len(runs))
            for run in runs[turn:] + runs[:turn]:
                outcome, failure = self._once(scenario, run)
                outcomes[run.name].rounds.append(outcome)
                if failure:
                    outcomes[run.name] = Outcome(outcomes[run.name].rounds, failure)
                self._tell(scenario, run, number, outcome, failure)
        return outcomes

    def _takes_part(self, run: Run) -> bool:
        if self._peers and run.peer not in self._peers:
            return False
        peer = PEERS[run.peer]
        missing = peer.missing
        if missing is None and peer.command.startswith("node ") and self._node_modules is None:
            missing = "its packages are not installed"
        if missing is not None and run.peer not in self.skipped:
            self.skipped[run.peer] = missing
            self._say(f"{run.peer} is left out: {missing}")
        return missing is None

    def _once(self, scenario: Scenario, run: Run) -> tuple[dict[str, float] | None, str]:
        arguments = scenario.asked(self._quick) | run.arguments
        peer = PEERS[run.peer]
        best: dict[str, float] | None = None
        for _ in range(1 if self._quick else TRIES):
            try:
                got = measure(peer, scenario.job, arguments, self._cores, self._node_modules)
            except (JobFailed, ServerFailed) as error:
                return best, "" if best else str(error)
            if best is None or _disturbance(got) < _disturbance(best):
                best = got
            if _disturbance(best) <= DISTURBED:
                break
        return best, ""

    def _tell(
        self,
        scenario: Scenario,
        run: Run,
        number: int,
        outcome: dict[str, float] | None,
        failure: str,
    ) -> None:
        if outcome is None:
            figures = f"failed: {failure}"
        else:
            figures = ", ".join(
                f"{column.title} {column.show(outcome[column.key])}"
                for column in scenario.columns
                if column.key in outcome
            )
            others = _disturbance(outcome)
            self.others_busy = max(self.others_busy, others)
            if others > DISTURBED:
                figures += f" (others took {others:.0%} of a core)"
        self._say(f"{scenario.name} {number + 1}/{self._rounds} {run.name}: {figures}")
