"""The file of ``--log-config``: what the standard library's ``logging.config`` takes."""

from __future__ import annotations

import json
import logging.config
import sys
import tomllib
from pathlib import Path
from typing import Any, Final

from owsuper.errors import ConfigurationError

_KINDS: Final = ".json, .toml, .ini or .conf"


def apply(path: str) -> None:
    """Configure logging by the file: a dictionary as JSON or TOML, or an INI file.

    Existing loggers stay enabled unless the file says otherwise. Classes that it names may be in
    the working directory. Raises ConfigurationError.
    """
    file = Path(path)
    source = f"--log-config {path}"
    kind = file.suffix.lower()
    if kind not in (".json", ".toml", ".ini", ".conf"):
        raise ConfigurationError(f"{source}: the name of the file must end in {_KINDS}")
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigurationError(f"{source}: there is no such file") from None
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{source}: cannot be read: {error}") from None
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)  # as for the application
    try:
        if kind in (".ini", ".conf"):
            logging.config.fileConfig(path, disable_existing_loggers=False, encoding="utf-8")
        else:
            logging.config.dictConfig(_document(text, kind, source))
    except ConfigurationError:
        raise
    except Exception as error:  # whatever a class that the file names raises
        raise ConfigurationError(f"{source}: {_reasons(error)}") from None


def _document(text: str, kind: str, source: str) -> dict[str, Any]:
    try:
        document = json.loads(text) if kind == ".json" else tomllib.loads(text)
    except ValueError as error:
        raise ConfigurationError(f"{source}: it is not valid {kind[1:].upper()}: {error}") from None
    if not isinstance(document, dict):
        raise ConfigurationError(f"{source}: it must hold an object, not {document!r:.60}")
    return {"version": 1, "disable_existing_loggers": False, **document}


def _reasons(error: BaseException | None) -> str:
    """Return the messages of ``error`` and its causes: logging names the place, then the reason."""
    texts: list[str] = []
    while error is not None and len(texts) < 4:
        text = f"{type(error).__name__}: {error}" if not texts or str(error) else repr(error)
        if str(error) not in "".join(texts):
            texts.append(text)
        error = error.__cause__
    return "; because of ".join(texts)
