"""What a supervisor looks at from time to time, whatever it hears."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from owsuper.event_loop import Loop
from owsuper.settings import Settings
from owsuper.supervisor import duties
from owsuper.supervisor.duties import Duties
from owsuper.supervisor.turns import Turns


@pytest.mark.parametrize(
    ("hearing", "refused", "expected"),
    [
        (True, (), set()),
        (False, (), {"limits", "pauses"}),
        (True, ("limits",), {"limits"}),
        (True, ("undone",), {"undone"}),
    ],
)
def test_what_was_not_heard_or_was_refused_is_asked_for_again(
    loop: Loop,
    monkeypatch: pytest.MonkeyPatch,
    hearing: bool,
    refused: tuple[str, ...],
    expected: set[str],
) -> None:
    monkeypatch.setattr(duties, "_UNHEARD_PERIOD", 0.001)
    asked: set[str] = set()
    pickup = Mock(limits_changed=lambda: asked.add("limits"))
    pauses = Mock(read=lambda: asked.add("pauses"))
    undone = Mock(refused="undone" in refused, look=lambda: asked.add("undone"))
    looked = Mock(return_value=hearing)
    Duties(
        loop,
        Settings(),
        Turns("host:1:me"),
        Mock(),
        Mock(),
        pickup,
        pauses,
        undone,
        Mock(refused="limits" in refused),
        release_period=3600.0,
        workflows=tuple,
        hearing=looked,
        has_room=lambda: False,
    ).start()
    while looked.call_count < 2:
        loop.turn()
    assert asked == expected
