"""Which modules start threads that Python does not know while they are imported."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec
from types import FrameType, ModuleType, TracebackType

from owsuper.child.unforkable import count_native_threads


class ImportWatch(MetaPathFinder):
    """Watches the imports of this thread, as a context manager.

    ``started_by`` describes what started threads that Python does not know: a module, or some
    modules of which it was one. The watch only looks, at the beginning of each import, and finds
    no module itself, so it changes no import. Between two looks, code of these modules may have
    run: the one whose import began at the first look, and those that import it, up to the one
    that was going on at the second. Libraries start threads when their extension modules are
    loaded, as a rule, so an extension module is named alone.
    """

    def __init__(self, application: str) -> None:
        self.started_by: list[str] = []
        self._application = application
        self._thread = threading.get_ident()
        self._count = count_native_threads()
        self._executing = [application]  # at the last look, innermost first
        self._outermost: FrameType | None = None  # whose callers are no modules of the application

    def __enter__(self) -> ImportWatch:
        self._outermost = sys._getframe(1)
        sys.meta_path.insert(0, self)
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        sys.meta_path.remove(self)
        self._outermost = None
        self._look([self._application])

    def find_spec(
        self, name: str, _path: Sequence[str] | None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Look for new threads, and leave the module to the other finders."""
        if threading.get_ident() == self._thread:
            executing = [*self._executing_modules(sys._getframe(1)), self._application]
            self._look(executing)
            self._executing = [name, *executing]
        return None

    def _executing_modules(self, frame: FrameType | None) -> Iterator[str]:
        """Yield the names of the modules whose code is being executed, innermost first."""
        while frame is not None and frame is not self._outermost:
            if frame.f_code.co_name == "<module>" and "__name__" in frame.f_globals:
                yield str(frame.f_globals["__name__"])
            frame = frame.f_back

    def _look(self, executing: list[str]) -> None:
        count = count_native_threads()
        if count > self._count:
            ended = self._executing[: len(self._executing) - len(executing)]
            self.started_by.append(_describe([*ended, executing[0]]))
        self._count = count


def _describe(candidates: Sequence[str]) -> str:
    origin = getattr(getattr(sys.modules.get(candidates[0]), "__spec__", None), "origin", None)
    if len(candidates) == 1 or str(origin).endswith(tuple(EXTENSION_SUFFIXES)):
        return candidates[0]
    return f"one of {', '.join(dict.fromkeys(candidates))}"
