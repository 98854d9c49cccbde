"""Examines a database, its tables and the settings for ``owsuper doctor``."""
