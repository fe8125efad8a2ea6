"""`hearth check`: what is wrong with an installation, in plain words, each with its remedy.

Every check is a generator of findings and looks without changing anything. The exit status is 1 if
something keeps the server from working; warnings leave it 0.
"""

import datetime
import errno
import http.client
import os
import socket
import ssl
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg2
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from signedjson.key import read_signing_keys

from homeserver.app import db
from homeserver.app.config import Config, ConfigError, Listener, load

ANSWER_SECONDS = 3.0
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True)
class Finding:
    level: str  # "ok", "warning", "fault"
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.level:<8} {self.subject}: {self.text}"


def ok(subject: str, text: str) -> Finding:
    return Finding("ok", subject, text)


def warning(subject: str, text: str) -> Finding:
    return Finding("warning", subject, text)


def fault(subject: str, text: str) -> Finding:
    return Finding("fault", subject, text)


def check(path: Path) -> int:
    try:
        loaded = load(path)
    except ConfigError as error:
        for problem in error.problems:
            print(fault(str(path), str(problem)))
        return 1
    print(ok("configuration", f"{path} is valid; the server is {loaded.config.server_name}"))
    for problem in loaded.warnings:
        print(warning("configuration", str(problem)))
    faults = 0
    for finding in findings(loaded.config):
        print(finding)
        faults += finding.level == "fault"
    print(f"\n{faults} to mend." if faults else "\nAll is well.")
    return 1 if faults else 0


def findings(config: Config) -> Iterator[Finding]:
    for each in CHECKS:
        yield from each(config)


def check_signing_key(config: Config) -> Iterator[Finding]:
    path = config.signing_key_path
    try:
        with path.open(encoding="utf-8") as stream:
            keys = read_signing_keys(stream)
        mode = path.stat().st_mode
    except FileNotFoundError:
        yield fault(
            "signing key", f"{path} is missing. Restore it from a backup, or make one: `hearth init`."
        )
        return
    except OSError as error:
        yield fault(
            "signing key", f"{path} cannot be read ({error.strerror}). Let the server's user read it."
        )
        return
    except Exception as error:  # signedjson raises whatever its parts raise
        yield fault("signing key", f"{path} is no key file ({error}). A line is: ed25519 a_XXXX <base64>.")
        return
    if not keys:
        yield fault("signing key", f"{path} is empty. Restore it from a backup.")
        return
    yield ok("signing key", f"{path} holds {', '.join(f'{key.alg}:{key.version}' for key in keys)}")
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        yield warning("signing key", f"others on this machine can read it. Do: chmod 600 {path}")


def check_database(config: Config) -> Iterator[Finding]:
    path = db.sqlite_path(config)
    if path is not None:
        yield from _check_sqlite_file(path)
        if not path.exists():
            return
    try:
        schema = db.read_schema(db.engine_of(config))
    except psycopg2.OperationalError as error:
        reason = " ".join(str(error).split())
        yield fault("database", f"PostgreSQL cannot be reached: {reason}. Look at database.args.")
        return
    except Exception as error:  # a file that is no database, a missing permission: the reason is the remedy
        yield fault("database", f"it cannot be read: {error}")
        return
    if schema.newer:
        yield fault("database", "it was written by a later Hearth. Run that version, or restore a backup.")
    elif not schema.applied:
        yield ok("database", "reachable and empty; the first `hearth run` makes the tables")
    elif schema.missing:
        yield warning("database", "its schema is older; `hearth db upgrade` or the next start mends that")
    else:
        yield ok("database", f"reachable, schema {max(schema.applied)} is up to date")
    if path is not None and config.server_name != "localhost":
        yield warning("database", "SQLite carries a small community; for more, use PostgreSQL (psycopg2)")


def _check_sqlite_file(path: Path) -> Iterator[Finding]:
    if not path.parent.is_dir():
        yield fault("database", f"the directory {path.parent} does not exist. Do: mkdir -p {path.parent}")
    elif not os.access(path.parent, os.W_OK):
        yield fault("database", f"the directory {path.parent} cannot be written to by this user")
    elif not path.exists():
        yield ok("database", f"{path} is not there yet; the first `hearth run` makes it")


def check_tls(config: Config) -> Iterator[Finding]:
    certificate, key = config.tls_certificate_path, config.tls_private_key_path
    if certificate is None or key is None:
        if certificate is not key:
            yield fault("TLS", "give both tls_certificate_path and tls_private_key_path, or neither")
        return
    for path in (certificate, key):
        if not os.access(path, os.R_OK):
            there = "cannot be read by this user" if path.exists() else "does not exist"
            yield fault("TLS", f"{path} {there}")
            return
    try:
        leaf = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
        private = serialization.load_pem_private_key(key.read_bytes(), None)
    except (ValueError, TypeError) as error:
        yield fault("TLS", f"certificate or key is not in PEM form: {error}")
        return
    if private.public_key() != leaf.public_key():
        yield fault("TLS", f"the key {key} does not belong to the certificate {certificate}")
        return
    yield from _check_validity(leaf)


def _check_validity(leaf: x509.Certificate) -> Iterator[Finding]:
    now = datetime.datetime.now(datetime.UTC)
    days = (leaf.not_valid_after_utc - now).days
    if now < leaf.not_valid_before_utc or days < 0:
        yield fault(
            "TLS", f"the certificate is good only until {leaf.not_valid_after_utc:%Y-%m-%d}. Renew it."
        )
    elif days < 14:
        yield warning("TLS", f"the certificate ends in {days} days. Renew it.")
    else:
        yield ok("TLS", f"certificate and key fit; good until {leaf.not_valid_after_utc:%Y-%m-%d}")


def check_ports(config: Config) -> Iterator[Finding]:
    for listener in config.listeners:
        for address in listener.bind_addresses:
            yield _check_port(address, listener)


def _check_port(address: str, listener: Listener) -> Finding:
    place = f"{address} port {listener.port}"
    try:
        family, kind, _, _, target = socket.getaddrinfo(address, listener.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind(target)
    except socket.gaierror:
        return fault("port", f"{address} is no address. bind_addresses takes IP addresses.")
    except OSError as error:
        if error.errno == errno.EADDRINUSE and _answers_matrix(address, listener):
            return ok("port", f"{place} is served by a Matrix server: this one, if it is running")
        remedies = {
            errno.EADDRINUSE: "another program uses it. End that, or choose another port.",
            errno.EACCES: "ports below 1024 take privileges. Choose a higher one behind a reverse proxy.",
            errno.EADDRNOTAVAIL: "this machine does not have that address. Correct bind_addresses.",
        }
        return fault("port", f"{place}: {remedies.get(error.errno or 0, error.strerror)}")
    return ok("port", f"{place} is free")


def _answers_matrix(address: str, listener: Listener) -> bool:
    host = EVERYWHERE.get(address, address)
    connection = (
        http.client.HTTPSConnection(
            host, listener.port, timeout=ANSWER_SECONDS, context=ssl._create_unverified_context()
        )
        if listener.tls
        else http.client.HTTPConnection(host, listener.port, timeout=ANSWER_SECONDS)
    )
    try:
        connection.request("GET", "/_matrix/client/versions")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def check_files(config: Config) -> Iterator[Finding]:
    named = {
        "federation_custom_ca_list": config.federation_custom_ca_list,
        "app_service_config_files": config.app_service_config_files,
    }
    for option, paths in named.items():
        for path in paths:
            if not os.access(path, os.R_OK):
                yield fault(option, f"{path} {'cannot be read' if path.exists() else 'does not exist'}")


def check_registration(config: Config) -> Iterator[Finding]:
    reachable = {address for listener in config.listeners for address in listener.bind_addresses}
    proxied = any(listener.x_forwarded for listener in config.listeners)
    if not config.enable_registration or config.registration_requires_token:
        return
    if proxied or reachable - {"127.0.0.1", "::1", "localhost"}:
        yield warning(
            "registration",
            "anybody who reaches this server can make accounts. Set registration_requires_token: true, or "
            "enable_registration: false and use `hearth register-user`.",
        )


CHECKS: tuple[Callable[[Config], Iterator[Finding]], ...] = (
    check_signing_key,
    check_database,
    check_tls,
    check_ports,
    check_files,
    check_registration,
)
