"""The options of federation: what is wrong with a value is said before the server starts."""

from pathlib import Path

import pytest

from homeserver.app.config import Config, ConfigError, parse
from homeserver.app.federation_wiring import _own_keys
from homeserver.protocol.signing import SigningKey
from tests.homeserver.sync.fakes import FakeClock

KEY = "Noi6WqcDj0QmPxCNQqgezwTlBKrfqehY1u2FyWP9uYw"


def read(text: str) -> Config:
    return parse("server_name: a.test\n" + text.replace("KEY", KEY), Path("/nonexistent")).config


@pytest.mark.parametrize(
    "text",
    [
        "ip_range_whitelist: [localhost]",
        "ip_range_blacklist: ['10.0.0.0/33']",
        "old_signing_keys: {'rsa:1': {key: KEY, expired_ts: 1}}",
        "old_signing_keys: {'ed25519:1': {key: short, expired_ts: 1}}",
        "old_signing_keys: {'ed25519:1': {key: KEY}}",
        "old_signing_keys: {'ed25519:1': {key: KEY, expired_ts: yesterday}}",
    ],
)
def test_wrong_values_are_named(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    (problem,) = caught.value.problems
    assert problem.line == 2 and problem.remedy
    assert problem.key.startswith(text.partition(":")[0])


def test_old_keys_are_published() -> None:
    config = read("old_signing_keys: {'ed25519:1': {key: KEY, expired_ts: 5}}")
    document = _own_keys(config, SigningKey.generate(), FakeClock()).document()
    assert document["old_verify_keys"] == {"ed25519:1": {"key": KEY, "expired_ts": 5}}


def test_every_key_of_the_file_is_published(tmp_path: Path) -> None:
    first, second = SigningKey.generate("first"), SigningKey.generate("second")
    (tmp_path / "keys").write_text(first.to_line() + "\n" + second.to_line() + "\n")
    config = parse("server_name: a.test\nsigning_key_path: keys", tmp_path).config
    document = _own_keys(config, first, FakeClock()).document()
    assert list(document["verify_keys"]) == ["ed25519:first", "ed25519:second"]
    assert set(document["signatures"]["a.test"]) == {"ed25519:first", "ed25519:second"}
