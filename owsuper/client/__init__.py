"""The side of owsuper that starts runs and waits for them. Import its names from ``owsuper``."""
