"""The pages that confirm actions, and the forms that perform them."""

from __future__ import annotations

from typing import Final

from owsuper.dashboard.actions import on_runs, pausing, schedules, sending, starting, workers
from owsuper.dashboard.screen import Screen

SCREEN: Final = Screen(
    title=None,
    pages={
        "/actions/cancel": on_runs.confirm_cancel,
        "/actions/retry": on_runs.confirm_retry,
        "/actions/rerun": on_runs.confirm_rerun,
        "/actions/signal": sending.confirm,
        "/actions/start": starting.choose,
        "/actions/drain": workers.confirm_drain,
        **schedules.CONFIRMATIONS,
        "/actions/pause": pausing.confirm_pause,
        "/actions/resume": pausing.confirm_resume,
        "/workers/stacks": workers.show_stacks,
    },
    forms={
        "/actions/cancel": on_runs.cancel,
        "/actions/retry": on_runs.retry,
        "/actions/rerun": on_runs.rerun,
        "/actions/signal": sending.send,
        "/actions/start": starting.start,
        "/actions/drain": workers.drain,
        **schedules.FORMS,
        "/actions/pause": pausing.pause,
        "/actions/resume": pausing.resume,
    },
)
