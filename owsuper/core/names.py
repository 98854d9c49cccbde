"""The rule for valid names, and the keys of steps whose name repeats."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from owsuper.errors import ConfigurationError, InvalidSchemaName, StepUsageError

MAX_NAME_LENGTH = 500
"""The most characters in a name. Names are index keys, whose size PostgreSQL bounds."""

_MAX_LISTED = 10  # names in one message
_SCHEMA_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAX_IDENTIFIER_BYTES = 63  # PostgreSQL's NAMEDATALEN, less the terminating NUL


class StepNames:
    """The step keys of one execution; keys depend on the order of the calls.

    The first ``charge`` gets the key ``charge``, the next ``charge:1``, then ``charge:2``. A key
    that the user has taken as a name is skipped.
    """

    __slots__ = ("_next", "_used")

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._next: dict[str, int] = {}

    def resolve(self, base: str) -> str:
        """Return the key for this call of a step named ``base``."""
        name = base
        if base in self._used:
            index = self._next.get(base, 1)
            while (name := f"{base}:{index}") in self._used:
                index += 1
            self._next[base] = index + 1
        self._used.add(name)
        return name

    def __contains__(self, name: str) -> bool:
        """Whether this key is in use."""
        return name in self._used

    def __iter__(self) -> Iterator[str]:
        """Iterate over all keys in use, in no order."""
        return iter(self._used)


def list_names(names: Sequence[str]) -> str:
    """Return ``names`` as text: the first ten, and how many more there are."""
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(names[:_MAX_LISTED]) + more


def check_step_name(name: str) -> str:
    """Return ``name`` if it is a valid step name. Raises StepUsageError."""
    if problem := _problem(name):
        raise StepUsageError(f"Invalid step name {_shown(name)}: {problem}")
    return name


def check_step_key(key: str | None, parameter: str = "step") -> str | None:
    """Return ``key``, the durable name of a step, or None. Raises ConfigurationError."""
    if key is not None and (not isinstance(key, str) or not key or not is_storable(key)):
        raise ConfigurationError(
            f"{parameter}: {key!r:.60} must be the name of a step, as its attempts are listed"
        )
    return key


def check_workflow_name(name: str) -> str:
    """Return ``name`` if runs can have it as that of their workflow. Raises ConfigurationError."""
    if problem := _problem(name):
        raise ConfigurationError(f"Invalid workflow name {_shown(name)}: {problem}")
    return name


def check_own_workflow_name(name: str) -> str:
    """Return ``name`` if an application can define and start a workflow of it.

    Raises ConfigurationError.
    """
    if check_workflow_name(name).startswith("undo:"):
        raise ConfigurationError(
            f"Invalid workflow name {_shown(name)}: names that begin with 'undo:' are those of runs"
            " that undo others. Rename it."
        )
    return name


def check_signal(name: str) -> str:
    """Return ``name`` if it is a valid signal name. Raises ConfigurationError."""
    if problem := _problem(name):
        raise ConfigurationError(f"Invalid signal name {_shown(name)}: {problem}")
    return name


def has_lone_surrogate(text: str) -> bool:
    """Whether ``text`` holds a lone surrogate, which UTF-8 cannot encode."""
    return not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text)


def is_storable(text: str) -> bool:
    """Whether PostgreSQL can store ``text``: it has no U+0000 and no lone surrogate."""
    return "\x00" not in text and not has_lone_surrogate(text)


def _problem(name: object) -> str | None:
    if not isinstance(name, str):
        return f"a name is text, not {type(name).__name__}. Pass the name first, as a str."
    if not name:
        return "it is empty. Give it a name that stays the same from one deployment to the next."
    if len(name) > MAX_NAME_LENGTH:
        return f"it has {len(name)} characters. Use at most {MAX_NAME_LENGTH}."
    if "\x00" in name:
        return "it contains U+0000, which PostgreSQL cannot store. Remove it."
    if has_lone_surrogate(name):
        return "it contains a lone surrogate, which is not valid Unicode text. Remove it."
    return None


def _shown(name: object) -> str:
    text = ascii(name)
    return text if len(text) <= 60 else text[:57] + "..."


def check_version(version: str | None) -> str | None:
    """Return ``version`` if it is a valid version. Raises ConfigurationError."""
    if version is not None and not isinstance(version, str):
        raise ConfigurationError(f"version: {version!r} must be text, such as {str(version)!r}")
    if version is not None and not is_storable(version):
        raise ConfigurationError(f"version: {version!r} contains U+0000 or a lone surrogate")
    return version


def check_compatible(versions: Iterable[str | None], own: str | None) -> frozenset[str | None]:
    """Return the versions with which a workflow of version ``own`` is compatible.

    Raises ConfigurationError.
    """
    if isinstance(versions, str) or not isinstance(versions, Iterable):
        raise ConfigurationError(
            f"compatible_with: {versions!r:.60} must be a list of versions, such as ['1'], with"
            " None for runs without a version"
        )
    try:
        compatible = frozenset(map(check_version, versions))
    except (ConfigurationError, TypeError) as error:
        raise ConfigurationError(f"compatible_with: {error}") from None
    if own in compatible:
        raise ConfigurationError(
            f"compatible_with: {own!r} is the version of the workflow itself. List the versions"
            " whose runs it may continue."
        )
    return compatible


def check_schema_name(schema: str) -> None:
    """Raise InvalidSchemaName unless ``schema`` may name the schema of owsuper's tables."""
    if not _SCHEMA_NAME.fullmatch(schema):
        raise InvalidSchemaName(
            f'Invalid schema name "{schema}". Use a Postgres identifier '
            "(letters, numbers, underscores; cannot start with a number)."
        )
    if len(schema) > _MAX_IDENTIFIER_BYTES:  # the pattern lets only ASCII through
        raise InvalidSchemaName(
            f'Invalid schema name "{schema}". Postgres identifiers must be at most 63 bytes.'
        )
