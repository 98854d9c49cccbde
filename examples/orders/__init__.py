"""A small shop: an order is placed on the web, paid elsewhere, and shipped.

    python -m examples.orders

README.md says what happens. ``workflows`` is what owsuper runs, ``app`` the web application,
``models`` and ``database`` the tables of the shop, ``schemas`` its JSON. ``payments`` is the client
of a payment provider, and ``provider`` a stand-in for the provider itself.
"""
