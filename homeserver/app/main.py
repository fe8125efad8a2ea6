"""The command `hearth`: reads the command line and calls the file of the command named there."""

import argparse
import sqlite3
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import psycopg2

from homeserver.app import check, db, init, register_user
from homeserver.app.config import Config, ConfigError, load
from storage.migrations import SchemaTooNew


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1


def read_config(options: argparse.Namespace) -> Config:
    """The configuration that -c names; what is odd in it is said on standard error."""
    loaded = load(options.config)
    for warning in loaded.warnings:
        print(f"{options.config}, {warning}", file=sys.stderr)
    return loaded.config


def _run(options: argparse.Namespace) -> int:
    config = read_config(options)
    from homeserver.app import run  # brings in the whole server, which the other commands can do without

    try:
        return run.run(config)
    except (OSError, ValueError, sqlite3.Error, psycopg2.Error, SchemaTooNew) as error:
        print(f"Hearth could not start: {error}", file=sys.stderr)
        print(f"`hearth check -c {options.config}` says what is wrong.", file=sys.stderr)
        return 1


def _init(options: argparse.Namespace) -> int:
    return init.init(options.server_name, options.directory)


def _check(options: argparse.Namespace) -> int:
    return check.check(options.config)


def _register_user(options: argparse.Namespace) -> int:
    return register_user.register_user(
        read_config(options), options.user, options.password, admin=options.admin, url=options.url
    )


def _db_status(options: argparse.Namespace) -> int:
    return db.status(read_config(options))


def _db_upgrade(options: argparse.Namespace) -> int:
    return db.upgrade(read_config(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hearth", description="Hearth, a Matrix homeserver.")
    parser.add_argument("--version", action="version", version=f"hearth {version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    configured = argparse.ArgumentParser(add_help=False)
    configured.add_argument(
        "-c",
        "--config",
        type=Path,
        default=Path("homeserver.yaml"),
        metavar="FILE",
        help="the configuration (homeserver.yaml in this directory)",
    )

    text = "write a configuration and a signing key"
    command = commands.add_parser("init", help=text, description=f"{text}.".capitalize())
    command.add_argument(
        "server_name", help="the domain in user IDs, such as example.org; localhost for a try"
    )
    command.add_argument(
        "-d", "--directory", type=Path, default=Path(), help="where to write (this directory)"
    )
    command.set_defaults(command=_init)

    text = "start the server"
    command = commands.add_parser("run", parents=[configured], help=text, description=f"{text}.".capitalize())
    command.set_defaults(command=_run)

    text = "look for faults in configuration, database, keys, TLS and ports"
    command = commands.add_parser(
        "check", parents=[configured], help=text, description=f"{text}.".capitalize()
    )
    command.set_defaults(command=_check)

    text = "make an account on the running server"
    command = commands.add_parser(
        "register-user", parents=[configured], help=text, description=f"{text}.".capitalize()
    )
    command.add_argument("user", nargs="?", help="the name, without @ and server; asked for if left out")
    command.add_argument(
        "-p", "--password", help="asked for if left out, which keeps it out of the shell history"
    )
    command.add_argument("--admin", action="store_true", help="make the account an administrator")
    command.add_argument("--url", help="where the server answers, if not at its first listener")
    command.set_defaults(command=_register_user)

    text = "look after the database schema"
    database = commands.add_parser("db", help=text, description=f"{text}.".capitalize())
    actions = database.add_subparsers(required=True, metavar="ACTION")
    command = actions.add_parser("status", parents=[configured], help="tell which schema the database has")
    command.set_defaults(command=_db_status)
    command = actions.add_parser("upgrade", parents=[configured], help="bring the schema up to date")
    command.set_defaults(command=_db_upgrade)
    return parser


def version() -> str:
    return metadata.version("hearth-homeserver")


if __name__ == "__main__":
    sys.exit(main())
