"""Workflows: functions that became durable, and the registry in which a worker finds them."""
