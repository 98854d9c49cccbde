"""Messages between supervisor, template and child processes, and their frames. No IO.

A frame is a header of five bytes (length of the body, kind of the message) and a MessagePack
body. MessagePack is used instead of JSON because a run has an input in bytes and datetimes, which
JSON would have to escape and parse. Partial reads are normal: ``FrameBuffer`` takes bytes as they
arrive and returns whole messages. File descriptors travel beside the bytes (SCM_RIGHTS), see
``pipe``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from inspect import get_annotations
from typing import Final
from zlib import crc32

import msgspec

from owsuper.core.model import ClaimedRun
from owsuper.core.schedules.spec import ScheduleSpec
from owsuper.errors import OwsuperError
from owsuper.ipc.flight_recorder import StepInTime
from owsuper.settings import Settings

_HEADER: Final = struct.Struct(">IB")
PROBE: Final = -1  # the "child number" of the process that only imports and reports
OTHER_PROTOCOL: Final = 70  # a template's exit code: not of the supervisor's PROTOCOL; EX_SOFTWARE
SELECTION: Final = "selection"  # a LoadFailed: --only and --except leave nothing to serve
SHORTAGE: Final = "shortage"  # a LoadFailed that may pass: no memory, descriptors or threads
TIMED_OUT: Final = "timed out"  # the reasons of Overdue
PAST_DEADLINE: Final = "past its deadline"
LEASE_LOST: Final = "canceled, or claimed by another worker"
CAUGHT_UNWIND: Final = "it catches what ends its execution (BaseException), and goes on"
_MAX_BODY: Final = 256 * 1024 * 1024  # bytes; a longer frame means that the stream is torn


class FrameError(OwsuperError):
    """Bytes on a pipe are no frame: the stream is torn and must be closed."""


# --- supervisor → template -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Load:
    """Import the application and answer with ``ApplicationLoaded`` or ``LoadFailed``."""

    settings: Settings


@dataclass(frozen=True, slots=True)
class Fork:
    """Fork child ``child``. The descriptors of its pipe and its flight recorder come along.

    ``environment`` is added to the template's environment. With ``connect``, the child connects to
    the database before it is ready.
    """

    child: int
    settings: Settings
    environment: dict[str, str] = field(default_factory=dict)
    connect: bool = False


@dataclass(frozen=True, slots=True)
class ReleaseOrphans:
    """If the supervisor dies, release its claims that no child of this template holds.

    ``supervisor_id`` begins the worker ids of the claims. None: release nothing.
    """

    supervisor_id: str | None


# --- template → supervisor -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ApplicationLoaded:
    """The application is loaded.

    ``workflows`` are the registered (name, version) pairs that this worker serves. The three
    settings are the arguments of the application's ``OpenWorkflow(...)``, or None. ``warnings`` are
    for the operator; ``mismatches`` too, about patterns of --only and --except without effect.
    ``concurrency`` is the most runs at once in one worker, by name, of served workflows that bound
    it. ``schedules`` are those that the code declares.
    ``limits`` are those of its workflows as JSON, or empty text. ``loaded_at`` is a time.time().
    """

    workflows: tuple[tuple[str, str | None], ...]
    database_url: str | None = None
    namespace: str | None = None
    schema: str | None = None
    warnings: tuple[str, ...] = ()
    mismatches: tuple[str, ...] = ()
    concurrency: dict[str, int] = field(default_factory=dict)
    schedules: tuple[ScheduleSpec, ...] = ()
    limits: str = ""
    loaded_at: float = 0.0


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """The application cannot be loaded, or the process cannot start.

    ``kind``: ``"import"``, ``"empty"`` (no workflows), ``"duplicate"`` (two workflows of one
    name and version), ``"types"`` (an annotation that cannot be used), ``"modules"`` (no module
    to import, or no such name in it), ``"hook"`` (a function of on_child_start raised),
    ``"database"`` (it cannot be reached), SELECTION or SHORTAGE. ``traceback`` is None where it
    would distract from ``message``. Children send this message on their own pipes: for a hook, for
    an import without preloading, for the database, and if they get no threads.
    """

    kind: str
    message: str
    traceback: str | None = None


@dataclass(frozen=True, slots=True)
class Forked:
    """Child ``child`` is process ``pid``."""

    child: int
    pid: int


@dataclass(frozen=True, slots=True)
class ForkFailed:
    """Child ``child`` could not be forked, because of ``reason``. There is no such process."""

    child: int
    reason: str


@dataclass(frozen=True, slots=True)
class Exited:
    """Child ``child`` is dead and reaped; ``wait_status`` is that of ``os.waitpid``.

    ``cpu_seconds`` is the processor time of the process, in user code and in the kernel.
    """

    child: int
    pid: int
    wait_status: int
    max_rss_kb: int
    cpu_seconds: float = 0.0


# --- supervisor → child ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Assign:
    """Execute ``run`` in ``slot`` (0 to concurrency - 1), which is then busy until ``Finished``."""

    slot: int
    run: ClaimedRun


@dataclass(frozen=True, slots=True)
class RenewLeases:
    """Renew all leases now: one of them is probably lost."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Finish all runs, then exit with code 0."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop all runs at the next step boundary, release them, exit with code 0."""


@dataclass(frozen=True, slots=True)
class SendStacks:
    """Answer with ``Stacks``."""


# --- child → supervisor ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ready:
    """The child takes runs from now on. ``pid`` is None if it has no process of its own."""

    pid: int | None


@dataclass(frozen=True, slots=True)
class Finished:
    """The execution of ``run_id`` is over and its outcome is written; ``slot`` is free.

    ``outcome`` is for the log: ``completed``, ``parked``, ``retrying``, ``failed``, ``released``
    or ``lost``. ``due_in`` is the number of seconds until the run is due again, None if it is
    not due again or the child does not know.
    """

    slot: int
    run_id: str
    outcome: str
    due_in: float | None = None


@dataclass(frozen=True, slots=True)
class LeasesRenewed:
    """The child has just renewed the leases of the claims with these worker ids."""

    worker_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StopSignaled:
    """The child stops without having been asked to: a signal told it, or it cannot go on.

    It begins no run that it reads from now on. Runs that it holds when it exits are released.
    """


@dataclass(frozen=True, slots=True)
class Stacks:
    """The Python stacks of the threads and tasks of the child, as text."""

    text: str


@dataclass(frozen=True, slots=True)
class Beat:
    """The main thread of the child runs. From the supervisor: a question, which this answers.

    A child also sends it several times in a hang time-out, if there is one.
    """


@dataclass(frozen=True, slots=True)
class Overdue:
    """The code in ``slot`` has not stopped in time: this process must be killed.

    ``reason`` is TIMED_OUT, PAST_DEADLINE, LEASE_LOST or CAUGHT_UNWIND. ``steps`` are those that
    are past their time-outs, each with its stack; ``stack`` is that of the code of the run.
    """

    slot: int
    worker_id: str
    reason: str
    steps: tuple[tuple[StepInTime, str], ...]
    stack: str


@dataclass(frozen=True, slots=True)
class Counted:
    """What the child has counted since the last message of this kind, if metrics are wanted.

    ``counts`` are names of metrics, the values of their labels, and numbers; ``distributions``
    likewise, with the sum of what was observed and the number of observations in each bucket.
    """

    counts: tuple[tuple[str, tuple[str, ...], float], ...] = ()
    distributions: tuple[tuple[str, tuple[str, ...], float, tuple[int, ...]], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.counts or self.distributions)


Message = (
    Load
    | Fork
    | ReleaseOrphans
    | ApplicationLoaded
    | LoadFailed
    | Forked
    | Exited
    | Assign
    | RenewLeases
    | Drain
    | Stop
    | Ready
    | Finished
    | LeasesRenewed
    | StopSignaled
    | ForkFailed
    | SendStacks
    | Stacks
    | Beat
    | Overdue
    | Counted
)

_KINDS: Final[tuple[type[Message], ...]] = (
    Load,
    Fork,
    ReleaseOrphans,
    ApplicationLoaded,
    LoadFailed,
    Forked,
    Exited,
    Assign,
    RenewLeases,
    Drain,
    Stop,
    Ready,
    Finished,
    LeasesRenewed,
    StopSignaled,
    ForkFailed,
    SendStacks,
    Stacks,
    Beat,
    Overdue,
    Counted,
)
PROTOCOL: Final = str(
    crc32(
        repr(
            [
                (kind.__name__, get_annotations(kind))
                for kind in (*_KINDS, ClaimedRun, ScheduleSpec, Settings)
            ]
        ).encode()
    )
)
"""Differs between two installations of owsuper whose processes cannot understand each other."""

_KIND_OF: Final = {kind: number for number, kind in enumerate(_KINDS)}
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODERS: Final = tuple(msgspec.msgpack.Decoder(kind) for kind in _KINDS)


def encode(message: Message) -> bytes:
    """Return the frame of ``message``."""
    body = _ENCODER.encode(message)
    return _HEADER.pack(len(body), _KIND_OF[type(message)]) + body


class FrameBuffer:
    """Collects bytes and returns whole messages."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages that ``data`` completes, in order. Raises FrameError."""
        pending = self._pending
        pending += data
        messages: list[Message] = []
        start = 0
        while len(pending) - start >= _HEADER.size:
            length, kind = _HEADER.unpack_from(pending, start)
            if kind >= len(_KINDS) or length > _MAX_BODY:
                raise FrameError(
                    f"The stream is torn: no message has kind {kind} and {length} bytes."
                )
            end = start + _HEADER.size + length
            if len(pending) < end:
                break
            messages.append(_decode(kind, pending[start + _HEADER.size : end]))
            start = end
        del pending[:start]
        return messages


def _decode(kind: int, body: bytes | bytearray) -> Message:
    try:
        return _DECODERS[kind].decode(body)
    except (msgspec.DecodeError, ValueError) as exc:
        raise FrameError(
            f"The stream is torn: cannot decode {_KINDS[kind].__name__}: {exc}"
        ) from exc
