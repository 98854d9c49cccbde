"""How fast it is on this machine, beside the database itself and others: ``make bench``."""
