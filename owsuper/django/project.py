"""What a worker imports of a Django project: ``owsuper --module owsuper.django.project``.

``manage.py owsuper worker`` does so.
"""

from __future__ import annotations

import os

import django
from django.apps import apps
from django.conf import settings

from owsuper.django.application import ow
from owsuper.django.databases import close_everything
from owsuper.errors import ConfigurationError

__all__ = ["ow"]

if not settings.configured and not os.environ.get("DJANGO_SETTINGS_MODULE"):
    raise ConfigurationError(
        "DJANGO_SETTINGS_MODULE is not set. Set it as manage.py does, or start the worker by"
        " manage.py owsuper worker."
    )
django.setup()
if not apps.is_installed("owsuper.django"):
    raise ConfigurationError('"owsuper.django" is not in INSTALLED_APPS. Add it.')
if not len(ow.registry):
    raise ConfigurationError(
        "no app has a workflow. Define one in workflows.py of an app of INSTALLED_APPS, with"
        " from owsuper.django import ow."
    )
close_everything()  # the children that are forked from here open their own
