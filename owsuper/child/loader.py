"""Importing the user's modules and finding what they register."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Final

from owsuper import shortage
from owsuper.child.spec import Hooks
from owsuper.core.schedules.spec import ScheduleSpec
from owsuper.errors import ConfigurationError, OwsuperError, RegistrationError
from owsuper.ipc.messages import SHORTAGE
from owsuper.workflow.definition import Workflow
from owsuper.workflow.registry import DeclaredSchedules, Registry

if TYPE_CHECKING:
    from owsuper.client.app import OpenWorkflow
    from owsuper.client.database import ExplicitSettings
    from owsuper.workflow.scheduling import Declaration

LOADED_AT: Final = time.time()
"""When this process, or the one of which it is a fork, began to load the application."""

_EXAMPLE: Final = "--module app.workflows"
_OF_DJANGO: Final = (
    " Start the worker of a Django project by manage.py owsuper worker, with owsuper.django in"
    " INSTALLED_APPS, or call django.setup() before the models are imported."
)
_NO_DIRECTORY: Final = (
    "The working directory was deleted. Start the worker in a directory that exists: that of the"
    " application."
)


class LoadError(Exception):
    """The application cannot be loaded. ``LoadFailed`` lists the kinds.

    ``traceback`` starts in the user's code. None if the message suffices.
    """

    def __init__(self, kind: str, message: str, *, traceback: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.traceback = traceback


@dataclass(frozen=True, slots=True)
class Application:
    """All workflows of the modules, and the arguments of their OpenWorkflow."""

    registry: Registry
    database_url: str | None
    namespace: str | None
    schema: str | None
    hooks: Hooks
    declared: tuple[DeclaredSchedules, ...] = ()

    def declarations(self) -> list[Declaration]:
        """Return what the code declares now."""
        return [each for schedules in self.declared for each in schedules]

    def schedules(self) -> tuple[ScheduleSpec, ...]:
        """Return the schedules that the code declares now. Raises as ``Declaration.spec`` does."""
        return tuple(each.spec() for each in self.declarations())


def load(modules: Sequence[str]) -> Application:
    """Import ``modules`` and collect their workflows. Raises LoadError.

    A module is ``pkg.mod``, ``pkg.mod:ow`` or ``path/to/file.py``. The working directory is
    added to the import path.
    """
    if not modules:
        raise LoadError(
            "modules", f"No module was named. Name the module with the workflows: {_EXAMPLE}"
        )
    try:
        here = str(Path.cwd())
    except FileNotFoundError as exc:
        raise LoadError("modules", _NO_DIRECTORY) from exc
    if here not in sys.path:
        sys.path.insert(0, here)
    _prepare_tracebacks()
    found: list[OpenWorkflow] = []
    for spec in modules:
        for instance in _instances(spec):
            if not any(instance is known for known in found):
                found.append(instance)
    return _merge(found, modules)


def _instances(spec: str) -> list[OpenWorkflow]:
    """Return the OpenWorkflow that ``spec`` names, or all that its module uses."""
    from owsuper.client.app import OpenWorkflow

    name, _, attribute = spec.partition(":")
    module = _import(name)
    if attribute:
        value = _attribute(module, spec, attribute)
        if not isinstance(value, OpenWorkflow):
            raise LoadError(
                "modules", f"{spec} is {_a(value)}, not an OpenWorkflow. Name the instance."
            )
        return [value]
    values = list(vars(module).values())
    starters = [value.starter for value in values if isinstance(value, Workflow)]
    return [value for value in (*values, *starters) if isinstance(value, OpenWorkflow)]


def _import(name: str) -> ModuleType:
    try:
        if name.endswith(".py") or "/" in name:
            return _import_file(Path(name))
        return importlib.import_module(name)
    except LoadError:
        raise
    except RegistrationError as exc:
        raise LoadError("duplicate", str(exc)) from exc
    except ConfigurationError as exc:  # its message suffices, with the place
        raise LoadError("import", f"{_place(exc)}{exc}") from exc
    except ModuleNotFoundError as exc:
        if exc.name is not None and (name == exc.name or name.startswith(exc.name + ".")):
            raise LoadError("import", _not_found(name, exc.name)) from exc
        raise LoadError("import", _failed(name, exc), traceback=user_traceback(exc)) from exc
    except BaseException as exc:  # SystemExit too: the module may be a script
        kind = SHORTAGE if is_shortage(exc) else "import"
        raise LoadError(kind, _failed(name, exc), traceback=user_traceback(exc)) from exc


def _import_file(path: Path) -> ModuleType:
    """Import a file under the dotted name that its packages give it."""
    if not path.is_file() or path.suffix != ".py":
        raise LoadError("import", f"There is no Python file {path} (looked from {Path.cwd()}).")
    path = path.resolve()
    parts, root = [path.stem], path.parent
    while (root / "__init__.py").exists():
        parts.insert(0, root.name)
        root = root.parent
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    name = ".".join(parts)
    if len(parts) > 1:
        return importlib.import_module(name)
    if (known := sys.modules.get(name)) is not None and getattr(known, "__file__", None) == str(
        path
    ):
        return known
    if known is not None or name in sys.stdlib_module_names:
        name = f"__owsuper_{name}"  # another module has the name already
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _attribute(module: ModuleType, spec: str, attribute: str) -> Any:
    value: Any = module
    for part in attribute.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            raise LoadError("modules", f"{spec}: {module.__name__} has no {attribute}.") from None
    return value


def _merge(found: Sequence[OpenWorkflow], modules: Sequence[str]) -> Application:
    named = ", ".join(modules)
    registry = Registry()
    schedules = DeclaredSchedules()
    try:
        for instance in found:
            for workflow in instance.registry:
                registry.add(workflow)
            for declaration in instance.declared_schedules:
                schedules.add(declaration)
    except RegistrationError as exc:
        raise LoadError("duplicate", str(exc)) from exc
    if not len(registry):
        what = "workflow is registered" if found else "OpenWorkflow is defined"
        raise LoadError(
            "empty",
            f"No {what} in {named}. A worker needs a module with ow = OpenWorkflow() and"
            " functions under @ow.workflow(...).",
        )
    try:
        given = [instance.explicit for instance in found]
    except ConfigurationError as exc:  # they are settings of a framework
        raise LoadError("modules", str(exc)) from exc
    for workflow in registry:  # everything is imported, so every annotation can be resolved
        try:
            _ = workflow.types
        except ConfigurationError as exc:
            raise LoadError("types", str(exc)) from exc
    application = Application(
        registry=registry,
        database_url=_common("database_url", given, named),
        namespace=_common("namespace", given, named),
        schema=_common("schema", given, named),
        hooks=Hooks(
            start=tuple(hook for instance in found for hook in instance.start_hooks),
            stop=tuple(hook for instance in found for hook in instance.stop_hooks),
            around_steps=tuple(each for instance in found for each in instance.step_contexts),
        ),
        declared=(schedules,),
    )
    try:
        application.schedules()
    except OwsuperError as exc:  # for example, an input that does not fit
        raise LoadError("types", str(exc)) from exc
    return application


def _common(setting: str, given: Sequence[ExplicitSettings], named: str) -> str | None:
    """Return the one explicit value of ``setting``, or None.

    Raises LoadError if instances differ.
    """
    values = {value for each in given if (value := getattr(each, setting)) is not None}
    if len(values) > 1:
        shown = "" if setting == "database_url" else f" ({', '.join(sorted(values))})"
        raise LoadError(
            "modules",
            f"{named}: the OpenWorkflows disagree about {setting}{shown}. A worker serves one"
            " of them. Name it: --module app.workflows:ow",
        )
    return values.pop() if values else None


def _not_found(name: str, missing: str) -> str:
    part = "" if missing == name else f" (there is no {missing})"
    return (
        f"There is no module {name}{part}, neither in {Path.cwd()} nor where Python finds"
        " packages. Check the directory and the virtual environment."
    )


def _failed(name: str, exc: BaseException) -> str:
    if isinstance(exc, SystemExit):
        return (
            f"{name} called exit while it was imported. Put the code of a script under"
            ' if __name__ == "__main__".'
        )
    advice = _OF_DJANGO if type(exc).__name__ == "AppRegistryNotReady" else ""
    return f"{name} cannot be imported: {type(exc).__name__}: {exc}{advice}"


def is_shortage(exc: BaseException | None) -> bool:
    """Whether ``exc``, or an exception that led to it, is a shortage."""
    while exc is not None:
        if shortage.explain(exc) is not None:
            return True
        exc = exc.__cause__ or exc.__context__
    return False


def _place(exc: BaseException) -> str:
    """Return the line of the user's code that raised ``exc``: ``app/flows.py, line 7: ``."""
    frames = traceback.extract_tb(exc.__traceback__)
    ours = Path(__file__).parents[1]
    users = [frame for frame in frames if ours not in Path(frame.filename).parents]
    library = Path(traceback.__file__).parent  # such as typing.py, which calls constructors
    for place in reversed(users):
        in_library = "runpy" in place.filename or Path(place.filename).parent == library
        if not _is_machinery(place.filename) and not in_library:
            return f"{place.filename}, line {place.lineno}: "
    return ""


def _prepare_tracebacks() -> None:
    """Import what formatting a traceback imports at its first use: later, descriptors may lack."""
    try:
        raise ImportError
    except ImportError as exc:
        traceback.format_exception(exc)


def user_traceback(exc: BaseException) -> str:
    """Format the traceback from the first frame of the user's code."""
    first: TracebackType | None = exc.__traceback__
    while first is not None and _is_machinery(first.tb_frame.f_code.co_filename):
        first = first.tb_next
    return "".join(traceback.format_exception(type(exc), exc, first))


def _is_machinery(filename: str) -> bool:
    generated = filename == "<string>"  # the constructor of a dataclass
    ours = Path(filename).parent == Path(__file__).parent
    return generated or ours or "importlib" in filename


def _a(value: object) -> str:
    name = type(value).__name__
    return f"an {name}" if name[0] in "AEIOUaeiou" else f"a {name}"
