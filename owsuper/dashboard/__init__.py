"""The dashboard: pages in the browser about runs of either language, and their workers.

``create`` makes an application of ASGI. Each screen is a module of ``pages``, with a template of
its name; ``application`` puts them behind ``guard``, which decides who may see them.
"""

from owsuper import extras

try:
    from owsuper.dashboard.application import Dashboard, create
except ModuleNotFoundError as error:
    raise extras.missing(error, "The dashboard", "owsuper[dashboard]") from error

__all__ = ["Dashboard", "create"]
