"""Starts a worker for each of several databases, and has them live and end together."""
