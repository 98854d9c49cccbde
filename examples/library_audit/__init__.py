"""Audits the standard library of the Python that runs it, and kills a process in the middle.

    python -m examples.library_audit

``workflows`` is the application, and all that one of your own would have. ``audit`` is what it
computes, ``journal`` counts what was executed, ``__main__`` conducts, ``report`` reports.
"""
