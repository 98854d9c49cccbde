"""The client: starts runs, waits for them, lists them. Import its names from ``owsuper``."""
