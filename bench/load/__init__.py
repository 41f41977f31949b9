"""The load generator: one process of its own, on picows, the same for every peer."""
