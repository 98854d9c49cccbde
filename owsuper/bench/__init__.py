"""How fast owsuper is on this machine and with this database: ``owsuper bench``.

Nothing else of owsuper imports this, so that a worker does not pay for it.
"""
