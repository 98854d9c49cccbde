"""Runs in Django's admin: to look at, and not to change."""

from __future__ import annotations

import json
from functools import reduce
from operator import or_
from typing import Any, Final
from urllib.parse import quote

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Q, QuerySet, TextField
from django.db.models.functions import Cast, Coalesce, Left, Length
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.html import format_html, format_html_join

from owsuper.db.lists import id_bounds
from owsuper.django.databases import project_settings
from owsuper.django.models import WorkflowRun, WorkflowStep

_MOST_COUNTED: Final = 10_000  # runs; counting all of a large table takes seconds
_MOST_STEPS: Final = 200
_MOST_CHARACTERS: Final = 20_000  # of a value


class BoundedPaginator(Paginator):  # type: ignore[type-arg]  # generic in its stubs alone
    """Has pages for the first 10,000 runs alone; a search finds the others."""

    @cached_property
    def count(self) -> int:
        """The number of runs, up to 10,000."""
        runs: Any = self.object_list
        return int(runs[:_MOST_COUNTED].count())


class WorkflowRunAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # likewise
    """A list of runs, which a status and the beginning of an id narrow down, and their details."""

    actions = None
    list_display = ("id", "workflow_name", "version", "status", "created_at", "finished_at")
    list_filter = ("status",)
    ordering = ("-created_at",)
    sortable_by = ("created_at",)  # the others have no index
    search_fields = ("id",)
    search_help_text = "The id of a run, or its beginning"
    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    shown = (
        *("id", "workflow_name", "version", "status", "dashboard", "idempotency_key"),
        *("attempts", "created_at", "started_at", "finished_at", "available_at", "deadline_at"),
        *("worker_id", "shown_input", "shown_output", "shown_error", "shown_steps"),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return runs without their values, of which a page of the list may have gigabytes."""
        return super().get_queryset(request).defer("input", "output", "error")

    def get_object(self, request: HttpRequest, object_id: str, from_field: Any = None) -> Any:
        """Return the run with this id, or None."""
        if "\0" in object_id:  # which PostgreSQL refuses to look for
            return None
        return super().get_object(request, object_id, from_field)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Leave the link out if there is no address for it."""
        links = project_settings().run_url is not None
        return [name for name in self.shown if links or name != "dashboard"]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """All of them."""
        return self.get_fields(request, obj)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Return the runs whose id begins with what was typed."""
        typed = search_term.strip()
        if not typed:
            return queryset, False
        # owsuper's own ids have no capitals, and those that a caller has chosen may have.
        conditions = (_begins_with(text) for text in dict.fromkeys((typed, typed.lower())))
        return queryset.filter(reduce(or_, conditions)), False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """No."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """No."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """No."""
        return False

    @admin.display(description="dashboard")
    def dashboard(self, run: WorkflowRun) -> str:
        """Return a link to the run elsewhere."""
        url = (project_settings().run_url or "").replace("{id}", quote(run.id, safe=""))
        return format_html('<a href="{}">{}</a>', url, url)

    @admin.display(description="input")
    def shown_input(self, run: WorkflowRun) -> str:
        """Return the input, to read."""
        return _shown_value(run, "input")

    @admin.display(description="result")
    def shown_output(self, run: WorkflowRun) -> str:
        """Return the result, to read."""
        return _shown_value(run, "output")

    @admin.display(description="error")
    def shown_error(self, run: WorkflowRun) -> str:
        """Return the error, to read."""
        return _shown_value(run, "error")

    @admin.display(description="steps")
    def shown_steps(self, run: WorkflowRun) -> str:
        """Return a table of the first step attempts."""
        steps: Any = WorkflowStep.objects.filter(run_id=run.id).order_by("created_at", "id")
        end = Coalesce(_text("error"), _text("output"))
        columns = ("step_name", "kind", "status", "started_at", *_beginning(end))
        found = list(steps.values_list(*columns)[: _MOST_STEPS + 1])
        rows = format_html_join(
            "",
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            ((*step, _shown(text, length)) for *step, text, length in found[:_MOST_STEPS]),
        )
        more = "" if len(found) <= _MOST_STEPS else f"only the first {_MOST_STEPS} are shown"
        return format_html("<table>{}</table>{}", rows, more) if found else "-"


def _begins_with(text: str) -> Q:
    least, most = id_bounds(text)  # so that the index of the table serves
    return Q(id__gte=least, id__lte=most, id__startswith=text)


def _shown_value(run: WorkflowRun, field: str) -> str:
    runs: Any = WorkflowRun.objects.filter(pk=run.pk)
    found = runs.values_list(*_beginning(_text(field))).first()
    return "-" if found is None else _shown(*found)


def _text(field: str) -> Any:
    return Cast(field, TextField())


def _beginning(text: Any) -> tuple[Any, Any]:
    """Return what selects the beginning of a text, and its length: it may have megabytes."""
    return Left(text, _MOST_CHARACTERS), Length(text)


def _shown(text: str | None, length: int) -> str:
    """Return JSON to read. ``text`` is its beginning, and ``length`` that of the whole."""
    if text is None or text == "null":
        return "-"
    more = f" … ({length} characters)"
    if length <= _MOST_CHARACTERS:
        text, more = json.dumps(json.loads(text), indent=2, ensure_ascii=False), ""
    return format_html('<pre style="white-space: pre-wrap">{}{}</pre>', text, more)


if project_settings().alias is not None:  # else Django has no connection to the database
    admin.site.register(WorkflowRun, WorkflowRunAdmin)
