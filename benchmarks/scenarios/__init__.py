"""One measurement a module: ``measure(server, sizes)`` yields its figures."""
