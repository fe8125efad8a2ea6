"""Two whole servers: what the configuration says reaches the parts."""

from pathlib import Path
from typing import Any

import httpx

from homeserver.protocol.signing import VerifyKey, read_signing_keys, verify_json
from tests.federation.authority import Authority
from tests.federation.processes import federate
from tests.processes import Hearth

OLD = {"ed25519:gone": {"key": "Noi6WqcDj0QmPxCNQqgezwTlBKrfqehY1u2FyWP9uYw", "expired_ts": 1576767829750}}


def key_of(server: Hearth) -> VerifyKey:
    return read_signing_keys((server.directory / "test.signing.key").read_text())[0].verify_key


def asked(server: Hearth, about: str) -> list[dict[str, Any]]:
    found = httpx.get(f"{server.url}/_matrix/key/v2/query/{about}", timeout=30).json()
    keys: list[dict[str, Any]] = found["server_keys"]
    return keys


def test_two_servers_know_each_other_by_name_certificate_and_key(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    alpha, beta = Hearth(tmp_path / "alpha"), Hearth(tmp_path / "beta")
    alpha_name = federate(alpha, authority)
    beta_name = federate(beta, authority, old_signing_keys=OLD, ip_range_whitelist=[])
    with alpha, beta:
        (document,) = asked(alpha, beta_name)
        verify_json(document, beta_name, key_of(beta))
        verify_json(document, alpha_name, key_of(alpha))
        assert document["old_verify_keys"] == OLD
        # Beta has no exception for the loopback network.
        assert asked(beta, alpha_name) == []


def test_an_authority_that_is_not_configured_is_not_trusted(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    alpha, beta = Hearth(tmp_path / "alpha"), Hearth(tmp_path / "beta")
    federate(alpha, authority, federation_custom_ca_list=[])
    beta_name = federate(beta, authority)
    with alpha, beta:
        assert asked(alpha, beta_name) == []
