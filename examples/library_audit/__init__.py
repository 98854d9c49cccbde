"""Audit the standard library of the running Python, and kill a process in the middle.

    python -m examples.library_audit

``workflows`` is the application: an application of yours needs nothing more. ``audit`` measures a
source file, and ``journal`` records every execution of a step. ``crash`` kills a process,
``progress`` and ``stored`` observe, ``report`` prints the result, and ``__main__`` runs everything.
"""
