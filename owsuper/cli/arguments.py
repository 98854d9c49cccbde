"""The command line: settings as flags, errors in one line, and misspelled variables.

Values stay text here. ``Settings`` reads them, so that one rule holds for a flag, an environment
variable and a line in pyproject.toml.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, NoReturn

from owsuper import embedded
from owsuper.core.names import has_lone_surrogate
from owsuper.errors import ConfigurationError
from owsuper.setting_types import Reader
from owsuper.settings import SETTING_TYPES, Settings, option_name, variable_name

_PREFIX: Final = "OWSUPER_"
_TEST_PREFIX: Final = "OWSUPER_TEST_"
_NEGATIVE: Final = re.compile(r"-\.?[0-9]")


@dataclass(frozen=True, slots=True)
class Command:
    """One subcommand. ``run`` returns the exit code, or raises an OwsuperError."""

    summary: str
    add_options: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


class _Once(argparse.Action):
    """Refuses a second value: the first one would be forgotten."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        """Keep the value."""
        if hasattr(namespace, self.dest):
            parser.error(
                f"{option_string} is given twice; a command uses one database. (A worker may serve"
                " several.)"
            )
        setattr(namespace, self.dest, values)


class Parser(argparse.ArgumentParser):
    """A parser without abbreviations, whose result holds only the options that were typed."""

    def __init__(self, prog: str, **kwargs: Any) -> None:
        super().__init__(
            prog=prog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            argument_default=argparse.SUPPRESS,
            allow_abbrev=False,
            **kwargs,
        )

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """Return the options that were typed. Raises ConfigurationError."""
        for word in argv:
            if has_lone_surrogate(word):
                self.error(f"{os.fsencode(word)!r} is not UTF-8")
        arguments, unknown = self.parse_known_args(list(self._join_values(argv)))
        if unknown:
            self.error(self._explain(unknown[0].partition("=")[0]))
        return arguments

    def _join_values(self, argv: Sequence[str]) -> Iterator[str]:
        """Yield the words of ``argv``, with ``--at -5m`` as ``--at=-5m``.

        argparse takes a word that begins with a dash for an option, unless it is a plain number.
        """
        valued = {
            option
            for action in self._actions
            if action.nargs is None
            for option in action.option_strings
        }
        words = iter(argv)
        for word in words:
            if word == "--":
                yield word
                break
            value = next(words, None) if word in valued else None
            if value is None:
                yield word
            elif _NEGATIVE.match(value):
                yield f"{word}={value}"
            else:
                yield from (word, value)
        yield from words

    def _explain(self, word: str) -> str:
        if not word.startswith("-"):
            return f"unexpected argument {word!r}; put a command first, a module after --module"
        known = [option for action in self._actions for option in action.option_strings]
        close = difflib.get_close_matches(word, known, n=1)
        return f"no such option: {word}" + (f"; did you mean {close[0]}?" if close else "")

    def error(self, message: str) -> NoReturn:
        """Raise ConfigurationError with ``message``; argparse would exit."""
        raise ConfigurationError(f"{message} (see {self.prog} --help)")


def add_settings(
    parser: argparse.ArgumentParser, names: Iterable[str], *, repeated: Collection[str] = ()
) -> None:
    """Add a flag for each of these fields of Settings.

    Those that are ``repeated`` may be given more than once, and are lists then.
    """
    defaults = {each.name: each.default for each in fields(Settings)}
    for name in names:
        _add_setting(parser, name, defaults[name], repeated=name in repeated)


def _add_setting(
    parser: argparse.ArgumentParser, name: str, default: object, *, repeated: bool
) -> None:
    flag, metavar = f"--{option_name(name)}", option_name(name).rpartition("-")[2].upper()
    setting = SETTING_TYPES[name]
    shown = f"{setting.help} [{variable_name(name)}]"
    match default:
        case bool():
            parser.add_argument(flag, dest=name, action=argparse.BooleanOptionalAction, help=shown)
            return
        case float():
            shown, metavar = f"{shown} (default: {default:g}s)", "DURATION"
        case str() | int():
            shown += f" (default: {default})"
        case None if setting.can_be_off:
            shown += " (default: off)"
    if repeated:
        shown += "; repeats, and then there is a worker for each"
    metavar = setting.metavar or metavar
    action: str | type[argparse.Action] = "store"
    if repeated or default == ():
        action = "append"
    elif name == "database_url":
        action = _Once
    parser.add_argument(flag, dest=name, metavar=metavar, action=action, help=shown)


def flags(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the settings among ``arguments``, by field name."""
    return {name: value for name, value in vars(arguments).items() if name in SETTING_TYPES}


def words(options: Mapping[str, Any]) -> Iterator[str]:
    """Yield the words that a command line has for what ``flags`` has returned."""
    for name, value in options.items():
        flag = f"--{option_name(name)}"
        match value:
            case bool():
                yield flag if value else f"--no-{option_name(name)}"
            case list():
                yield from (f"{flag}={each}" for each in value)
            case _:
                yield f"{flag}={value}"


def misspelled_variables(env: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield (variable, similar setting) for variables in ``env`` that would be ignored.

    A variable that resembles no setting may belong to another program.
    """
    known = {variable_name(name).removeprefix(_PREFIX) for name in SETTING_TYPES}
    others = {embedded.ENVIRONMENT, *(variable_name(f"no_{name}") for name in SETTING_TYPES)}
    unknown = [
        variable
        for variable, value in sorted(env.items())
        if value
        and variable.startswith(_PREFIX)
        and variable.removeprefix(_PREFIX) not in known
        and variable not in others
        and not variable.startswith(_TEST_PREFIX)
    ]
    if not unknown:
        return
    from owsuper.cli.dashboard_settings import DASHBOARD_TYPES, SECTION  # few need it

    known |= {variable_name(f"{SECTION}_{name}").removeprefix(_PREFIX) for name in DASHBOARD_TYPES}
    for variable in unknown:
        name = variable.removeprefix(_PREFIX)
        close = difflib.get_close_matches(name, sorted(known), n=1)
        if name not in known and close:
            yield variable, _PREFIX + close[0]


def typed_as(read: Reader) -> Callable[[str], object]:
    """Return ``read`` as an argparse type: argparse reports errors with the option's name."""

    def typed(text: str) -> object:
        try:
            return read(text)
        except ConfigurationError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return typed
