"""``python -m bench``: everything side by side; see ``--help`` for parts of it."""

from __future__ import annotations


def main() -> None:
    """Run it, or say what is missing."""
    try:
        from .cli import main as run
    except ModuleNotFoundError as error:
        raise SystemExit(
            f'No module named {error.name}: python -m pip install -e ".[bench]"'
        ) from None
    run()


if __name__ == "__main__":
    main()
