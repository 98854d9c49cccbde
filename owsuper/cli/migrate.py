"""``owsuper migrate``: create or update the tables, check them, or print the SQL."""

from __future__ import annotations

import argparse
from contextlib import ExitStack

from owsuper import setting_sources
from owsuper.cli import database
from owsuper.cli.arguments import Command, add_settings, flags
from owsuper.cli.output import print_data, print_message
from owsuper.db import migrate as migrations
from owsuper.supervisor.exit_status import ExitCode


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_settings(parser, ("database_url", "schema"))
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="only check the tables")
    mode.add_argument("--sql", action="store_true", help="print the SQL; needs no database")


def _run(arguments: argparse.Namespace) -> int:
    chosen = setting_sources.load(flags(arguments))
    if "sql" in arguments:
        print_data(migrations.sql(chosen.schema).removesuffix("\n"))
        return ExitCode.CLEAN
    if chosen.borrowed:
        print_message(f"settings come from {' and '.join(chosen.borrowed)}")
    with ExitStack() as stack:
        url = database.choose(chosen, None, stack)
        if "check" in arguments:
            return _check(url, chosen.schema)
        database.prepare(url, chosen.schema, migrate=True)
    print_message(f'the tables in schema "{chosen.schema}" are up to date')
    return ExitCode.CLEAN


def _check(url: str, schema: str) -> int:
    with database.connected(url) as conn:
        missing = migrations.check(conn, schema)
    for each in missing:
        print_message(f'schema "{schema}": missing: {each}')
    if missing:
        print_message(f"run: owsuper migrate --schema {schema}")
        return ExitCode.ERROR
    print_message(f'the tables in schema "{schema}" are up to date')
    return ExitCode.CLEAN


COMMAND = Command("Create or update the tables, check them, or print the SQL", _add_options, _run)
