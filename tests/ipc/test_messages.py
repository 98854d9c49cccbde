"""Frames arrive whole however the stream is cut; other bytes are refused."""

from __future__ import annotations

import contextlib
import random
import string
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owsuper.core.model import ClaimedRun
from owsuper.ipc import messages
from owsuper.settings import Settings

TIMES = st.datetimes(
    min_value=datetime(1970, 1, 2), max_value=datetime(9999, 1, 1), timezones=st.just(UTC)
)
RUNS = st.builds(
    ClaimedRun,
    run_id=st.uuids().map(str),
    workflow_name=st.text(max_size=20),
    version=st.none() | st.text(max_size=5),
    worker_id=st.text(string.ascii_letters, max_size=40),
    attempts=st.integers(1, 2**31),
    input_json=st.none() | st.binary(max_size=300),
    input_stored=st.booleans(),
    created_at=TIMES,
    started_at=TIMES,
    claimed_at=TIMES,
    claim_sent=st.floats(0, allow_infinity=False),
    claim_answered=st.floats(0, allow_infinity=False),
    deadline_at=st.none() | TIMES,
    first=st.booleans(),
    suspect=st.booleans(),
)
MESSAGES: st.SearchStrategy[messages.Message] = st.one_of(
    st.builds(messages.Assign, slot=st.integers(0, 1000), run=RUNS),
    st.builds(
        messages.Finished,
        slot=st.integers(0, 1000),
        run_id=st.uuids().map(str),
        outcome=st.sampled_from(["completed", "parked"]),
        due_in=st.none() | st.floats(0, 1e6),
    ),
    st.builds(
        messages.LeasesRenewed, worker_ids=st.lists(st.text(max_size=10), max_size=5).map(tuple)
    ),
    st.builds(
        messages.ApplicationLoaded,
        workflows=st.lists(st.tuples(st.text(), st.none() | st.text()), max_size=4).map(tuple),
        database_url=st.none() | st.text(),
        namespace=st.none() | st.text(),
        schema=st.none() | st.text(),
        warnings=st.lists(st.text(), max_size=2).map(tuple),
    ),
    st.builds(
        messages.LoadFailed, kind=st.text(), message=st.text(), traceback=st.none() | st.text()
    ),
    st.builds(messages.Forked, child=st.integers(0, 2**31), pid=st.integers(1, 2**22)),
    st.builds(
        messages.Exited,
        child=st.integers(0, 2**31),
        pid=st.integers(1, 2**22),
        wait_status=st.integers(0, 0xFFFF),
        max_rss_kb=st.integers(0, 2**40),
    ),
    st.builds(messages.Ready, pid=st.integers(1, 2**22)),
    st.just(messages.Drain()),
    st.just(messages.Stop()),
    st.just(messages.Load(Settings(modules=("app.flows",), given=frozenset({"modules"})))),
    st.just(messages.Fork(3, Settings(database_url="postgresql://h/d", lease=3.5))),
)


@pytest.mark.slow
@given(sent=st.lists(MESSAGES, max_size=6), data=st.data())
def test_messages_arrive_whole_and_in_order_however_the_stream_is_cut(
    sent: list[messages.Message], data: st.DataObject
) -> None:
    stream = b"".join(messages.encode(message) for message in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    frames = messages.FrameBuffer()
    arrived: list[messages.Message] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        arrived += frames.feed(stream[start:end])
    assert arrived == sent


@given(sent=st.tuples(MESSAGES, MESSAGES))
def test_two_frames_cut_at_every_offset_arrive_as_soon_as_they_are_whole(
    sent: tuple[messages.Message, messages.Message],
) -> None:
    first, second = (messages.encode(message) for message in sent)
    stream = first + second
    for cut in range(len(stream) + 1):
        frames = messages.FrameBuffer()
        early = frames.feed(stream[:cut])
        whole = (cut >= len(first)) + (cut >= len(stream))
        assert early == list(sent[:whole])
        assert early + frames.feed(stream[cut:]) == list(sent)


def test_settings_arrive_with_the_names_that_were_given() -> None:
    settings = Settings(
        modules=("a",), database_url="postgresql:///y", given=frozenset({"database_url"})
    )
    (message,) = messages.FrameBuffer().feed(messages.encode(messages.Load(settings)))
    assert isinstance(message, messages.Load)
    assert message.settings == settings
    assert message.settings.given == {"database_url"}


@pytest.mark.parametrize(
    "junk",
    [b"Traceback (most recent call last):", b"\xff" * 32, b"\0\0\0\1\xfe\0", b"\0\0\0\3\6abc"],
    ids=["text", "ones", "unknown kind", "broken body"],
)
def test_a_torn_stream_raises_frame_error(junk: bytes) -> None:
    with pytest.raises(messages.FrameError):
        messages.FrameBuffer().feed(junk)


def test_random_bytes_raise_no_other_error() -> None:
    source = random.Random(7)
    for _ in range(2000):
        junk = bytes([0, 0, 0, source.randrange(40)]) + source.randbytes(source.randrange(64))
        with contextlib.suppress(messages.FrameError):
            messages.FrameBuffer().feed(junk)
