"""owsuper in a Django project. ``ow`` is the OpenWorkflow of the project, see docs/django.md."""

from owsuper import extras

try:
    import django  # noqa: F401 -- first, so that the error names it

    from owsuper.django.application import ow
except ModuleNotFoundError as error:
    raise extras.missing(error, "owsuper.django", "owsuper[django]") from error

__all__ = ["ow"]
