"""owsuper in a Django project. ``ow`` is the OpenWorkflow of the project, see docs/django.md."""

from owsuper.django.application import ow

__all__ = ["ow"]
