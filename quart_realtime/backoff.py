"""How long a client waits before it comes back."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from attrs import frozen


@frozen
class Backoff:
    """Waits that grow with each failure, each drawn at random so that clients come back spread.

    "Full jitter" on top of a floor, after Marc Brooker, *Exponential Backoff And Jitter*, AWS
    Architecture Blog, 2015.

    Args:
        base: The floor, and what the growing part starts from, in seconds.
        ceiling: The longest wait, in seconds.
        stable_after: After how many seconds connected the failures before no longer count.
        longest_spread: What a server's ``retry_after_ms`` is cut to, in seconds.
        random: Returns a number from 0 to 1.
        clock: Returns the wall clock's time in seconds since the epoch.

    """

    base: float = 0.5
    ceiling: float = 20.0
    stable_after: float = 5.0
    longest_spread: float = 60.0
    random: Callable[[], float] = random.random
    clock: Callable[[], float] = time.time

    def delay(self, failures: int) -> float:
        """Return how many seconds to wait after *failures* earlier ones in a row."""
        # 2**32 is past any ceiling, and a float still holds it.
        span = min(self.ceiling, self.base * 2 ** min(failures, 32))
        return min(self.ceiling, self.base + self.between(0, span))

    def spread(self, retry_after: float) -> float:
        """Return how many seconds to wait when a server asked for a return within *retry_after*."""
        return self.between(0, min(self.longest_spread, max(0.0, retry_after)))

    def between(self, low: float, high: float) -> float:
        """Return a number from *low* to *high*, drawn at random."""
        return low + (high - low) * self.random()
