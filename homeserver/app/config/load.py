"""From the text of homeserver.yaml to a Config: every fault found is named with key, line and remedy."""

import dataclasses
import difflib
import ipaddress
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema

from homeserver.app.config import yaml_lines
from homeserver.app.config.declare import Schema, convert_section, section_schema
from homeserver.app.config.options import Config
from homeserver.app.config.unused import UNUSED
from homeserver.app.config.yaml_lines import Document

SCHEMA = section_schema(Config)


@dataclasses.dataclass(frozen=True)
class Problem:
    """A fault of the file, or (as a warning) something in it that has no effect."""

    key: str
    line: int | None
    text: str
    remedy: str

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line else ""
        key = f"{self.key}: " if self.key else ""
        return f"{place}{key}{self.text}. {self.remedy}"


class ConfigError(Exception):
    def __init__(self, source: str, problems: list[Problem]) -> None:
        super().__init__("\n".join(f"{source}, {problem}" for problem in problems))
        self.problems = problems


@dataclasses.dataclass(frozen=True)
class Loaded:
    config: Config
    warnings: list[Problem]


def load(path: Path) -> Loaded:
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError as error:
        remedy = "Write one with `hearth init`, or name the right one with -c."
        raise ConfigError(str(path), [Problem("", None, "there is no such file", remedy)]) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), [Problem("", None, f"it cannot be read: {error}", "")]) from error
    return parse(text, path.resolve().parent, str(path))


def parse(text: str, directory: Path, source: str = "homeserver.yaml") -> Loaded:
    """`directory`: where relative paths in the file start."""
    try:
        document = yaml_lines.read(text)
    except yaml_lines.YamlError as error:
        remedy = "Mend this line; indentation must be spaces, and texts with : or # need quotes."
        raise ConfigError(source, [Problem("", error.line, error.text, remedy)]) from error
    faults = list(_faults(document))
    if faults:
        raise ConfigError(source, faults)
    config: Config = convert_section(Config, document.data, directory)
    config = _with_secrets(_with_database_path(config, directory), document, source)
    if faults := list(_contradictions(config, document)):
        raise ConfigError(source, faults)
    return Loaded(config, list(_unknown_keys(SCHEMA, document.data, (), document)))


def _faults(document: Document) -> Iterator[Problem]:
    validator = jsonschema.Draft202012Validator(SCHEMA)
    for error in sorted(validator.iter_errors(document.data), key=lambda error: str(error.path)):
        path = tuple(error.absolute_path)
        if error.validator == "required":
            missing = next(key for key in error.validator_value if key not in error.instance)
            schema = error.schema["properties"][missing]
            yield Problem(
                _dotted((*path, missing)),
                document.line(path) if path else None,
                "it is missing",
                f"Add it: {schema['expected']}.",
            )
        else:
            expected = error.schema.get("expected", error.message)
            yield Problem(
                _dotted(path),
                document.line(path),
                f"{_shown(error.instance)} will not do",
                f"Give {expected}.",
            )


def _with_database_path(config: Config, directory: Path) -> Config:
    database = config.database
    if database.name != "sqlite3" or database.args.get("database") == ":memory:":
        return config
    path = directory / str(database.args.get("database", "homeserver.db"))
    args = {**database.args, "database": str(path)}
    return dataclasses.replace(config, database=dataclasses.replace(database, args=args))


def _with_secrets(config: Config, document: Document, source: str) -> Config:
    """Secrets that stand in files of their own; what is written in the configuration itself wins."""

    def secret(given: str | None, path: Path | None, key: str) -> str | None:
        if given is not None or path is None:
            return given
        try:
            return path.read_text("utf-8").strip() or None
        except OSError as error:
            line = document.line((key,))
            problem = Problem(key, line, f"it cannot be read: {error}", "Write the secret there.")
            raise ConfigError(source, [problem]) from error

    return dataclasses.replace(
        config,
        registration_shared_secret=secret(
            config.registration_shared_secret,
            config.registration_shared_secret_path,
            "registration_shared_secret_path",
        ),
        turn_shared_secret=secret(
            config.turn_shared_secret, config.turn_shared_secret_path, "turn_shared_secret_path"
        ),
    )


def _contradictions(config: Config, document: Document) -> Iterator[Problem]:
    """What no schema of single keys can see."""
    path: yaml_lines.Path
    for name, networks in (
        ("ip_range_blacklist", config.ip_range_blacklist),
        ("ip_range_whitelist", config.ip_range_whitelist),
    ):
        for address in filter(_is_no_network, networks):
            remedy = "Give addresses such as 192.0.2.7 or networks such as 192.0.2.0/24."
            yield Problem(name, document.line((name,)), f"{_shown(address)} will not do", remedy)
    for index, tier in enumerate(config.rate_limit_tiers):
        for address in filter(_is_no_network, tier.addresses):
            path = ("rate_limit_tiers", index, "addresses")
            remedy = "Give addresses such as 192.0.2.7 or networks such as 192.0.2.0/24."
            yield Problem(_dotted(path), document.line(path), f"{_shown(address)} will not do", remedy)
    for index, listener in enumerate(config.listeners):
        if listener.tls and not (config.tls_certificate_path and config.tls_private_key_path):
            path = ("listeners", index, "tls")
            yield Problem(
                _dotted(path),
                document.line(path),
                "there is no certificate",
                "Give tls_certificate_path and tls_private_key_path, or leave TLS to a reverse proxy.",
            )
    if config.registration_requires_token and not config.enable_registration:
        path = ("registration_requires_token",)
        yield Problem(
            path[0],
            document.line(path),
            "registration is closed, so a token opens nothing",
            "Set enable_registration: true as well: with both, only holders of a token can register.",
        )
    if config.database.name == "psycopg2" and not (
        {"dbname", "database", "service", "dsn"} & set(config.database.args)
    ):
        path = ("database", "args")
        yield Problem(
            _dotted(path), document.line(path), "the database has no name", "Add dbname: hearth (or yours)."
        )


def _is_no_network(address: str) -> bool:
    try:
        ipaddress.ip_network(address, strict=False)
    except ValueError:
        return True
    return False


def _unknown_keys(schema: Schema, value: Any, path: yaml_lines.Path, document: Document) -> Iterator[Problem]:
    properties = schema.get("properties")
    if isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            yield from _unknown_keys(schema["items"], item, (*path, index), document)
    if not isinstance(value, Mapping) or properties is None:
        return
    for key, inner in value.items():
        here = (*path, key)
        if key in properties:
            yield from _unknown_keys(properties[key], inner, here, document)
        else:
            yield Problem(
                _dotted(here), document.line(here), "it has no effect", _why_unknown(key, path, properties)
            )


def _why_unknown(key: str, path: yaml_lines.Path, properties: Mapping[str, Any]) -> str:
    if not path and key in UNUSED:
        return f"Remove it: {UNUSED[key]}."
    close = difflib.get_close_matches(key, properties, n=1)
    return (
        f"Did you mean {close[0]}?" if close else "There is no such option here; see homeserver.yaml.example."
    )


def _dotted(path: yaml_lines.Path) -> str:
    """("listeners", 0, "port") → listeners[0].port"""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".")


def _shown(value: Any) -> str:
    if isinstance(value, Mapping | list):
        return "a mapping" if isinstance(value, Mapping) else "a list"
    if value is None:
        return "nothing"
    shown = str(value).lower() if isinstance(value, bool) else repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}…"
