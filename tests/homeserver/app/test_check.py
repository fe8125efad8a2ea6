"""`hearth check` finds what is wrong and says what to do about it."""

import datetime
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from homeserver.app import check, db
from homeserver.app.config import Config, Database, Listener, load
from homeserver.app.init import init
from tests.postgres import PostgresServer


@pytest.fixture
def config(tmp_path: Path) -> Config:
    init("localhost", tmp_path)
    config = load(tmp_path / "homeserver.yaml").config
    return replace(config, listeners=(Listener(port=0),))


def said(config: Config, level: str) -> list[str]:
    return [str(finding) for finding in check.findings(config) if finding.level == level]


def test_a_new_installation_is_well(
    config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(config, "fault") == said(config, "warning") == []
    text = (tmp_path / "homeserver.yaml").read_text().replace("port: 8008", "port: 0")
    (tmp_path / "homeserver.yaml").write_text(text)
    assert check.check(tmp_path / "homeserver.yaml") == 0
    assert "All is well." in capsys.readouterr().out


def test_a_broken_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "homeserver.yaml").write_text("server_name: a b\nlog_level: LOUD\n")
    assert check.check(tmp_path / "homeserver.yaml") == 1
    out = capsys.readouterr().out
    assert "line 1: server_name" in out
    assert "line 2: log_level" in out


def test_signing_key(config: Config) -> None:
    path = config.signing_key_path
    path.chmod(0o644)
    assert f"chmod 600 {path}" in said(config, "warning")[0]
    path.write_text("nonsense")
    assert "is no key file" in said(config, "fault")[0]
    path.write_text("")
    assert "is empty" in said(config, "fault")[0]
    path.unlink()
    assert "is missing" in said(config, "fault")[0]


def test_sqlite(config: Config, tmp_path: Path) -> None:
    assert any("the first `hearth run` makes it" in line for line in said(config, "ok"))
    db.upgrade(config)
    assert any("up to date" in line for line in said(config, "ok"))
    Path(config.database.args["database"]).write_bytes(b"this is no database at all" * 100)
    assert "cannot be read" in said(config, "fault")[0]
    nowhere = Database(args={"database": str(tmp_path / "no" / "where.db")})
    assert "mkdir -p" in said(replace(config, database=nowhere), "fault")[0]


def test_postgres(config: Config, postgres_server: PostgresServer) -> None:
    args = postgres_server.create_database()
    there = replace(config, database=Database(name="psycopg2", args=args))
    assert any("empty" in line for line in said(there, "ok"))
    db.upgrade(there)
    assert any("up to date" in line for line in said(there, "ok"))
    absent = replace(config, database=Database(name="psycopg2", args={**args, "dbname": "absent"}))
    assert 'database "absent" does not exist' in said(absent, "fault")[0]
    postgres_server.drop_database(args["dbname"])


def certificate(directory: Path, days: int) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=30))
        .not_valid_after(now + datetime.timedelta(days=days, hours=1))
        .sign(key, hashes.SHA256())
    )
    paths = directory / f"{days}.crt", directory / f"{days}.key"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, pkcs8, plain))
    return paths


def with_tls(config: Config, certificate: Path | None, key: Path | None) -> Config:
    return replace(config, tls_certificate_path=certificate, tls_private_key_path=key)


def test_tls(config: Config, tmp_path: Path) -> None:
    good, good_key = certificate(tmp_path, 90)
    soon, soon_key = certificate(tmp_path, 5)
    late, late_key = certificate(tmp_path, -1)
    assert any("certificate and key fit" in line for line in said(with_tls(config, good, good_key), "ok"))
    assert "ends in 5 days" in said(with_tls(config, soon, soon_key), "warning")[0]
    assert "Renew it" in said(with_tls(config, late, late_key), "fault")[0]
    assert "does not belong" in said(with_tls(config, good, soon_key), "fault")[0]
    assert "does not exist" in said(with_tls(config, tmp_path / "none", good_key), "fault")[0]
    assert "not in PEM form" in said(with_tls(config, good_key, good_key), "fault")[0]
    assert "or neither" in said(with_tls(config, good, None), "fault")[0]


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_ports(config: Config, taken_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def listening(address: str, port: int) -> Config:
        return replace(config, listeners=(Listener(port=port, bind_addresses=(address,)),))

    monkeypatch.setattr(check, "ANSWER_SECONDS", 0.1)
    assert "another program uses it" in said(listening("127.0.0.1", taken_port), "fault")[0]
    assert "does not have that address" in said(listening("192.0.2.1", 0), "fault")[0]
    assert "takes IP addresses" in said(listening("no such host.invalid", 0), "fault")[0]


def test_files_that_are_named_but_not_there(config: Config, tmp_path: Path) -> None:
    named = replace(config, app_service_config_files=(tmp_path / "bridge.yaml",))
    assert "bridge.yaml does not exist" in said(named, "fault")[0]


def test_open_registration_on_a_reachable_server(config: Config) -> None:
    reachable = replace(config, listeners=(Listener(port=0, bind_addresses=("0.0.0.0",)),))
    assert "anybody" in said(reachable, "warning")[0]
    assert said(replace(reachable, registration_requires_token=True), "warning") == []
    assert said(replace(reachable, enable_registration=False), "warning") == []
