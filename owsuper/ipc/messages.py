"""What supervisor, template and children say to each other: bytes in, messages out, no IO.

A frame is a five-byte header (the body's length, the kind of message) and a MessagePack body,
chosen over JSON because a run's input is bytes already and its times are datetimes: both
travel without being escaped or parsed. Partial reads are normal, so ``FrameBuffer`` takes
bytes as they come and gives whole messages; file descriptors travel beside the bytes
(SCM_RIGHTS) and are no concern of this module.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

import msgspec

from owsuper.core.model import ClaimedRun
from owsuper.errors import OwsuperError
from owsuper.settings import Settings

_HEADER: Final = struct.Struct(">IB")
PROBE: Final = -1  # stands for a child's number: the process that imports only to tell of it
_MAX_BODY: Final = 256 * 1024 * 1024  # a longer frame can only be a torn stream


class FrameError(OwsuperError):
    """Bytes on a pipe that are no frame of ours: the stream is torn and must be closed."""


# --- supervisor → template -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Load:
    """Import the application and say what it registers (``Loaded`` or ``LoadFailed``)."""

    settings: Settings


@dataclass(frozen=True, slots=True)
class Fork:
    """Fork child ``child``. Its end of the pipe and its flight recorder come with this frame.

    ``environment`` holds what must be set in its environment, on top of the template's.
    """

    child: int
    settings: Settings
    environment: dict[str, str] = field(default_factory=dict)


# --- template → supervisor -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ApplicationLoaded:
    """The application is known.

    ``workflows`` are (name, version) pairs; the three settings are what the application's own
    ``OpenWorkflow(...)`` was given, or None. ``warnings`` are sentences for the operator.
    """

    workflows: tuple[tuple[str, str | None], ...]
    database_url: str | None = None
    namespace: str | None = None
    schema: str | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """The application cannot be loaded. ``traceback`` is None for a mistake that it would hide.

    ``kind``: ``"import"``, ``"empty"`` (no workflows), ``"duplicate"`` (two workflows of one
    name and version), ``"types"`` (an annotation that cannot be used) or ``"modules"`` (nothing
    to import, or no such thing in it). In an application that is not preloaded a child says
    this, too, on its own pipe.
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
class Exited:
    """Child ``child`` is dead and reaped. ``wait_status`` is as from ``os.waitpid``."""

    child: int
    pid: int
    wait_status: int
    max_rss_kb: int


# --- supervisor → child ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Assign:
    """Execute ``run`` in ``slot`` (0 to concurrency - 1), which is free until ``Finished``."""

    slot: int
    run: ClaimedRun


@dataclass(frozen=True, slots=True)
class RenewLeases:
    """Renew the leases now: one of them is probably lost."""


@dataclass(frozen=True, slots=True)
class Drain:
    """Finish what runs, then exit 0."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop at the next step boundary: release the runs, exit 0."""


# --- child → supervisor ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ready:
    """The child takes assignments from here on."""

    pid: int


@dataclass(frozen=True, slots=True)
class Finished:
    """The pass over ``run_id`` is over and its outcome is written; ``slot`` is free.

    ``outcome`` is a word for the log: ``completed``, ``parked``, ``retrying``, ``failed``,
    ``released``, ``lost``. ``due_in`` is the number of seconds until the run is due again, if
    it is and the child knows.
    """

    slot: int
    run_id: str
    outcome: str
    due_in: float | None = None


@dataclass(frozen=True, slots=True)
class LeasesRenewed:
    """The child renewed the leases of these claims (worker ids) just now."""

    worker_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StopSignaled:
    """Somebody told the child to stop, by a signal. What it is assigned from here on, and had
    not read before, it does not begin.
    """


Message = (
    Load
    | Fork
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
)

_KINDS: Final[tuple[type[Message], ...]] = (
    Load,
    Fork,
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
)
_KIND_OF: Final = {kind: number for number, kind in enumerate(_KINDS)}
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODERS: Final = tuple(msgspec.msgpack.Decoder(kind) for kind in _KINDS)


def encode(message: Message) -> bytes:
    """One frame."""
    body = _ENCODER.encode(message)
    return _HEADER.pack(len(body), _KIND_OF[type(message)]) + body


class FrameBuffer:
    """Collects bytes until they are whole messages."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """The messages that ``data`` completes, in order. Raises WireError on a torn stream."""
        pending = self._pending
        pending += data
        messages: list[Message] = []
        start = 0
        while len(pending) - start >= _HEADER.size:
            length, kind = _HEADER.unpack_from(pending, start)
            if kind >= len(_KINDS) or length > _MAX_BODY:
                raise FrameError(f"A frame of kind {kind} and {length} bytes is none of ours.")
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
        raise FrameError(f"A frame of kind {_KINDS[kind].__name__} cannot be read: {exc}") from exc
