"""Metrics: what a worker counts, and the page on which Prometheus reads it.

No worker imports this unless ``--metrics-port`` is set. A dashboard imports ``queue`` for its page.

    catalogue    every metric: name, labels, meaning
    tally        counts and histograms of one process, and their differences
    families     the text that Prometheus reads, made with its own library
    server       the thread that answers over HTTP
    queue        what the database knows, also for processes that are no worker
"""
