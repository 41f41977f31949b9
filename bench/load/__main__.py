"""``python -m bench.load JOB``: does one job, a JSON object, and prints what came of it."""

from __future__ import annotations

import asyncio
import json
import os
import sys

import uvloop

from . import jobs, shared
from .target import Target

JOBS = jobs.JOBS | shared.JOBS


def main() -> None:
    """Do the job."""
    job = json.loads(sys.argv[1])
    if job["core"] is not None:
        os.sched_setaffinity(0, {job["core"]})
    doing = JOBS[job["job"]](Target.read(job["target"]), **job["arguments"])
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:

        async def do() -> object:
            return await doing

        print(json.dumps(runner.run(do())))


if __name__ == "__main__":
    main()
