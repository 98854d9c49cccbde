"""Measurements of owsuper, of the database alone, and of other engines: ``make bench``."""
