"""What it costs, side by side with others: ``python -m bench``."""
