"""The password file: lines of ``name:scrypt$...``, read again when the file changes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import stat
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from owsuper.errors import ConfigurationError

# 16 MB and some 0.2 s for each try, as OWASP recommends: against who steals the file.
_N, _R, _P = 1 << 14, 8, 5
_BYTES: Final = 32
_MAX_MEMORY: Final = 64 << 20
_MAX_WORK: Final = 1 << 22  # n * r * p of a line; more would let one login take seconds
LEAST_LENGTH: Final = 8
_LONGEST: Final = 1024
_MAKE: Final = "owsuper dashboard --add-user NAME --auth FILE"


@dataclass(frozen=True, slots=True)
class _Hash:
    n: int
    r: int
    p: int
    salt: bytes
    digest: bytes

    def matches(self, password: str) -> bool:
        computed = _scrypt(password, self.salt, self.n, self.r, self.p, len(self.digest))
        return hmac.compare_digest(computed, self.digest)

    def __str__(self) -> str:
        salt, digest = (base64.b64encode(each).decode() for each in (self.salt, self.digest))
        return f"scrypt${self.n}${self.r}${self.p}${salt}${digest}"


def _scrypt(password: str, salt: bytes, n: int, r: int, p: int, size: int) -> bytes:
    return hashlib.scrypt(
        password.encode(), salt=salt, n=n, r=r, p=p, maxmem=_MAX_MEMORY, dklen=size
    )


def _new_hash(password: str) -> _Hash:
    salt = secrets.token_bytes(16)
    return _Hash(_N, _R, _P, salt, _scrypt(password, salt, _N, _R, _P, _BYTES))


def _parse(text: str) -> _Hash:
    """Return the hash in ``text``. Raises ValueError."""
    kind, n, r, p, salt, digest = text.split("$")
    found = _Hash(int(n), int(r), int(p), *(_decoded(each) for each in (salt, digest)))
    if kind != "scrypt" or len(found.salt) < 8 or not 16 <= len(found.digest) <= 64:
        raise ValueError
    if min(found.n - 1, found.r, found.p) < 1 or found.n * found.r * found.p > _MAX_WORK:
        raise ValueError
    if found.n.bit_count() != 1 or 128 * found.n * found.r > _MAX_MEMORY // 2:
        raise ValueError  # OpenSSL would refuse it
    return found


def _decoded(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


class PasswordFile:
    """The users of a password file. Its methods may be called by any thread.

    Raises ConfigurationError if the file cannot be used; later too, when it has changed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, ...] | None = None
        self._users: Mapping[str, _Hash] = {}
        # Of nobody: a name that does not exist takes as long as one that does.
        self._nobody = _Hash(_N, _R, _P, secrets.token_bytes(16), secrets.token_bytes(_BYTES))
        self._read()

    def verify(self, name: str, password: str) -> str | None:
        """Return the fingerprint of this user's password, or None if it is not ``password``."""
        known = self._read().get(name)
        matches = (known or self._nobody).matches(password[:_LONGEST])
        return self.fingerprint(name) if known is not None and matches else None

    def fingerprint(self, name: str) -> str | None:
        """Return a text that changes with the password of this user, or None without the user."""
        known = self._read().get(name)
        return None if known is None else hashlib.sha256(str(known).encode()).hexdigest()[:16]

    def _read(self) -> Mapping[str, _Hash]:
        with self._lock:
            try:
                found = self._path.stat()
                seen = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode)
                if seen != self._seen:
                    self._users = _users(self._path, found)
                    self._seen = seen
            except OSError as error:
                raise ConfigurationError(
                    f"{self._path}: the password file cannot be read: {error.strerror}. Check path"
                    f" and owner, or make one: {_MAKE}"
                ) from None
            return self._users


def _users(path: Path, found: os.stat_result) -> Mapping[str, _Hash]:
    if found.st_mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP):
        raise ConfigurationError(
            f"{path}: other users of this machine can read or change the password file. Run:"
            f" chmod 600 {path}"
        )
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: the password file is not UTF-8 text") from None
    users: dict[str, _Hash] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, colon, text = line.strip().partition(":")
        try:
            if not colon or not is_name(name):
                raise ValueError
            users[name] = _parse(text)
        except (ValueError, MemoryError):
            # Not the line itself: it may hold a password that somebody has put there.
            raise ConfigurationError(
                f"{path}: line {number} is not name:scrypt$... Add users by: {_MAKE}"
            ) from None
    if not users:
        raise ConfigurationError(f"{path}: the password file has no user. Add one: {_MAKE}")
    return users


def is_name(name: str) -> bool:
    """Return whether a user may have this name."""
    return 0 < len(name) <= 100 and name.isprintable() and name == name.strip() and ":" not in name


def add_user(path: Path, name: str, password: str) -> bool:
    """Write a user with this password into the file; return whether the user is new.

    The file is made if necessary, and replaced in one step. Raises ConfigurationError.
    """
    if not is_name(name) or name.startswith("#"):
        raise ConfigurationError(
            f"{name!r:.80} is no name for a user: at most 100 visible characters, no colon"
        )
    if not LEAST_LENGTH <= len(password) <= _LONGEST:
        raise ConfigurationError(f"the password must have {LEAST_LENGTH} to {_LONGEST} characters")
    line = f"{name}:{_new_hash(password)}"
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = [each for each in lines if each.strip().partition(":")[0] != name]
        beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write("\n".join([*kept, line, ""]))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigurationError(f"{path}: cannot be written: {reason}") from None
    return len(kept) == len(lines)
