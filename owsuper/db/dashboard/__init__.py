"""Statements of the dashboard. They lock nothing, and each has a bound on what it reads."""
