"""Schedules: when they are due, and what the runs get that they start. No clock, no IO."""
