"""`hearth init` makes what `hearth run` needs, and never touches what is there."""

import stat
from pathlib import Path

import pytest
from signedjson.key import read_signing_keys

from homeserver.app.config import ConfigError, load
from homeserver.app.init import init


def test_writes_a_valid_configuration_and_key(tmp_path: Path) -> None:
    assert init("example.org", tmp_path / "new" / "data") == 0
    loaded = load(tmp_path / "new" / "data" / "homeserver.yaml")
    assert loaded.warnings == []
    config = loaded.config
    assert config.server_name == "example.org"
    assert not config.enable_registration
    assert config.registration_shared_secret is not None and len(config.registration_shared_secret) > 30
    with config.signing_key_path.open() as stream:
        (key,) = read_signing_keys(stream)
    assert key.alg == "ed25519"
    assert key.version.startswith("a_")
    for path in (config.signing_key_path, tmp_path / "new" / "data" / "homeserver.yaml"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_localhost_is_for_a_first_try(tmp_path: Path) -> None:
    init("localhost", tmp_path)
    config = load(tmp_path / "homeserver.yaml").config
    assert config.enable_registration
    assert config.public_baseurl == "http://127.0.0.1:8008/"
    assert [listener.bind_addresses for listener in config.listeners] == [("127.0.0.1",)]


def test_what_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "example.org.signing.key").write_text("the old key")
    init("example.org", tmp_path)
    assert (tmp_path / "example.org.signing.key").read_text() == "the old key"
    (tmp_path / "homeserver.yaml").write_text("mine")
    assert init("example.org", tmp_path) == 0
    assert (tmp_path / "homeserver.yaml").read_text() == "mine"


def test_two_installations_share_no_secret(tmp_path: Path) -> None:
    init("example.org", tmp_path / "a")
    init("example.org", tmp_path / "b")
    for name in ("homeserver.yaml", "example.org.signing.key"):
        assert (tmp_path / "a" / name).read_text() != (tmp_path / "b" / name).read_text()


def test_a_bad_name_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="server_name"):
        init("not a name", tmp_path / "data")
    assert not (tmp_path / "data").exists()
