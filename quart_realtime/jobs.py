"""The requests of one connection that are in flight, or wait for their turn."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, ContextVar
from typing import Any, Protocol

from attrs import define, field

from .errors import Conflict, InternalError, RateLimited, RealtimeError, Unavailable
from .limits import Slots

logger = logging.getLogger("quart_realtime")

WAITING = 100
"""How many requests of a connection may wait while as many as may do run."""
RETRY_AFTER = 1.0
"""After how many seconds to try again when even the waiting places are taken."""


class Spawn(Protocol):
    """Runs work in a task that outlives the connection."""

    def __call__(self, work: Coroutine[Any, Any, None], context: Context | None = None) -> None:
        """Run *work*."""


@define(eq=False)
class _Job:
    """A job that runs, and what is to be done when it has been answered."""

    jobs: Jobs
    done: bool = False
    after: list[Callable[[], None]] = field(factory=list)


_current_job: ContextVar[_Job | None] = ContextVar("quart_realtime_job", default=None)


class Jobs:
    """Runs so many jobs at once, each under an id that is taken until it has been answered.

    Args:
        running: How many may run at once; :data:`WAITING` more may wait.
        spawn: Runs a job.
        send_error: Answers an id with the error that its job ended in.
    """

    __slots__ = ("_closed", "_ids", "_send_error", "_slots", "_spawn", "_when_idle")

    def __init__(
        self, running: int, spawn: Spawn, send_error: Callable[[str, RealtimeError], None]
    ) -> None:
        self._slots = Slots(running, WAITING)
        self._spawn = spawn
        self._send_error = send_error
        self._ids: dict[str, None] = {}  # A set would take more room while it is empty.
        self._when_idle: Callable[[], None] | None = None
        self._closed = False

    def offer(self, job_id: str, work: Callable[[], Awaitable[None]]) -> None:
        """Have *work* done, in its turn and in a context of its own.

        Raises:
            Conflict: a job of that id is in flight.
            RateLimited: too many wait already.
            Unavailable: no more are taken.
        """
        if self._closed:
            raise Unavailable("the server is stopping: try again in a moment")
        if job_id in self._ids:
            raise Conflict("a request with this id is in flight")

        def start() -> None:
            # Nothing that one request leaves in its context may carry over to the next.
            self._spawn(self._run(job_id, work), Context())

        self._ids[job_id] = None
        if not self._slots.offer(start):
            del self._ids[job_id]
            raise RateLimited(RETRY_AFTER, limit="waiting")

    def finish(self, call: Callable[[], None]) -> None:
        """Take no more jobs, and call *call* when those in flight have been answered."""
        self._closed = True
        if self._ids:
            self._when_idle = call
        else:
            call()

    def after_this(self, call: Callable[[], None]) -> None:
        """Call *call* when the job whose code this is has been answered; at once outside of one."""
        job = _current_job.get()
        if job is None or job.jobs is not self or job.done:
            call()
        else:
            job.after.append(call)

    async def _run(self, job_id: str, work: Callable[[], Awaitable[None]]) -> None:
        job = _Job(self)
        _current_job.set(job)
        try:
            await work()
        except RealtimeError as error:
            self._send_error(job_id, error)
        except Exception:
            logger.exception("answering %r failed", job_id)
            self._send_error(job_id, InternalError())
        finally:
            job.done = True
            del self._ids[job_id]
            self._slots.done()
            for call in job.after:
                call()
            if self._when_idle is not None and not self._ids:
                call, self._when_idle = self._when_idle, None
                call()

    def clear(self) -> None:
        """Forget the jobs that wait; those that run go on."""
        self._slots.clear()
