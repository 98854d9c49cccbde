"""The screen of ``owsuper top``: what it shows, its keys, and how it is drawn."""

from __future__ import annotations

import curses
import locale
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Final

from owsuper import OpenWorkflow, WorkerStatus
from owsuper.cli.formatting import Layout, cut, moment, now, printable
from owsuper.cli.worker_table import worker_table
from owsuper.errors import DatabaseError

_HELP: Final = "q quit   i idle processes   arrows scroll"


@dataclass(slots=True)
class View:
    """What the screen shows; changed by keys. ``offset`` is the number of lines scrolled away."""

    workers: Sequence[WorkerStatus] = ()
    error: str | None = None
    idle: bool = True
    offset: int = 0
    page: int = field(default=1, init=False)  # lines of the table on the screen

    def lines(self, at: datetime, width: int, height: int) -> list[str]:
        """Return the lines of a screen of this size, at the time ``at``."""
        table = worker_table([self._shown(each) for each in self.workers], Layout(width))
        heading, rows = table[:1], table[1:]
        self.page = max(1, height - 4)
        self.offset = max(0, min(self.offset, len(rows) - self.page))
        shown = rows[self.offset : self.offset + self.page]
        left = len(rows) - self.offset - len(shown)
        more = f"   {left} more lines below" if left else ""
        lines = [self._summary(at), "", *heading, *shown]
        lines += [""] * (height - 1 - len(lines)) + [_HELP + more]
        return [cut(printable(line), width) for line in lines[:height]]

    def press(self, key: int) -> bool:
        """Handle a key; return False if it ends the program."""
        match key:
            case curses.KEY_UP:
                self.offset -= 1
            case curses.KEY_DOWN:
                self.offset += 1
            case curses.KEY_PPAGE:
                self.offset -= self.page
            case curses.KEY_NPAGE:
                self.offset += self.page
            case _ if key == ord("i"):
                self.idle = not self.idle
            case _ if key in (ord("q"), ord("Q"), 27):
                return False
        return True

    def _summary(self, at: datetime) -> str:
        if self.error is not None:
            return f"{moment(at)}  {self.error}"
        here = [each for each in self.workers if each.here]
        gone = len(self.workers) - len(here)
        slots = sum(each.slots for each in here)
        busy = sum(each.busy for each in here)
        processes = sum(len(each.processes) for each in here)
        missing = f", {gone} missing" if gone else ""
        return (
            f"{moment(at)}  workers {len(here)}{missing}  processes {processes}"
            f"  slots busy {busy}/{slots}"
        )

    def _shown(self, worker: WorkerStatus) -> WorkerStatus:
        if self.idle:
            return worker
        return replace(worker, processes=tuple(each for each in worker.processes if each.held))


def show(ow: OpenWorkflow, interval: float) -> None:
    """Show the workers until the user quits; look again every ``interval`` seconds.

    Raises DatabaseError if the first look fails. Later failures are shown.
    """
    locale.setlocale(locale.LC_ALL, "")  # curses writes in the terminal's encoding
    curses.wrapper(partial(_show, ow, View(ow.list_workers()), interval))


def _show(ow: OpenWorkflow, view: View, interval: float, screen: curses.window) -> None:
    with suppress(curses.error):  # some terminals cannot hide it
        curses.curs_set(0)
    screen.timeout(round(interval * 1000))
    while True:
        _draw(view, screen)
        key = screen.getch()
        if not view.press(key):
            return
        if key == -1:  # the interval has passed
            _look(ow, view)


def _look(ow: OpenWorkflow, view: View) -> None:
    try:
        view.workers, view.error = ow.list_workers(), None
    except DatabaseError as error:  # an outage may end; the last workers stay on the screen
        view.error = " ".join(str(error).split())


def _draw(view: View, screen: curses.window) -> None:
    height, width = screen.getmaxyx()
    screen.erase()
    # The last column stays free: writing into the last cell of a terminal scrolls it.
    for number, line in enumerate(view.lines(now(), width - 1, height)):
        emphasis = curses.A_REVERSE if number == 2 else curses.A_NORMAL
        with suppress(curses.error):  # the terminal has become smaller meanwhile
            screen.addstr(number, 0, line.ljust(width - 1) if number == 2 else line, emphasis)
    screen.refresh()
