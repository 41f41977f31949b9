"""Serve the chat with Hypercorn: ``python -m example_app``, then open the address it prints.

With ``--workers 2`` and more, ``QUART_REALTIME_BROKER_URL`` has to name a Redis or Valkey; the log
says so where it doesn't.
"""

import argparse
import sys

from hypercorn.config import Config
from hypercorn.run import run

from example_app import settings
from example_app.demo_data import USERS


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to stop; return the exit status."""
    options = _parser().parse_args(arguments)
    config = Config()
    overrides = "dict(DEBUG=True)" if options.debug else ""  # A colon would end the module's name.
    config.application_path = f"example_app:create_app({overrides})"
    config.bind = [options.bind]
    # To Hypercorn, 0 is one worker in this very process.
    config.workers = options.workers if options.workers > 1 else 0
    print(f"Chat at http://{options.bind}")
    if settings.from_environment().get("DEMO_DATA", True):
        print(f"Log in as {', '.join(USERS)}; each one's password is the name itself.")
    print("Open a second window and log in as somebody else. Ctrl-C stops the server.")
    print(f"What it answers and tells: http://{options.bind}/ws/docs")
    if options.debug:
        print(f"What goes on in it: http://{options.bind}/ws/inspector")
    sys.stdout.flush()
    try:
        return run(config)
    except OSError as error:
        print(f"Can't listen on {options.bind}: {error.strerror}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m example_app", description="Serve the chat.")
    parser.add_argument(
        "--bind", default="localhost:8000", metavar="HOST:PORT", help="default: %(default)s"
    )
    parser.add_argument(
        "--debug", action="store_true", help="with the inspector, for browsers on this machine"
    )
    parser.add_argument(
        "--workers", type=_count, default=1, metavar="N", help="processes; default: %(default)s"
    )
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    sys.exit(main())
