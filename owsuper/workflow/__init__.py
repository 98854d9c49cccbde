"""Workflows: durable functions, and the registry in which a worker finds them."""
