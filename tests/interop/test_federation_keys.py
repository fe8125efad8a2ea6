"""Hearth and a real Synapse find each other, believe each other's keys, and each other's signatures."""

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx
import pytest

from federation.request_signing import authorize
from homeserver.protocol.signing import SigningKey, read_signing_keys, verify_json
from tests.federation.authority import Authority
from tests.federation.processes import federate
from tests.processes import Hearth, ServerProcess, Synapse, synapse_python

pytestmark = pytest.mark.interop


class Pair(NamedTuple):
    authority: Authority
    hearth: Hearth
    hearth_name: str
    synapse: Synapse
    synapse_name: str


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    if not synapse_python().exists():
        pytest.skip("Synapse is not installed: make peers")
    directory = tmp_path_factory.mktemp("federation")
    authority = Authority(directory)
    hearth, synapse = Hearth(directory / "hearth"), Synapse(directory / "synapse")
    names = federate(hearth, authority), federate(synapse, authority)
    with hearth, synapse:
        yield Pair(authority, hearth, names[0], synapse, names[1])


def key_of(server: ServerProcess) -> SigningKey:
    return read_signing_keys(Path(server.configuration["signing_key_path"]).read_text())[0]


def test_each_is_a_notary_for_the_other(pair: Pair) -> None:
    both = ((pair.hearth, pair.synapse, pair.synapse_name), (pair.synapse, pair.hearth, pair.hearth_name))
    for notary, origin, origin_name in both:
        # Synapse serves keys on its federation listener only.
        name = pair.hearth_name if notary is pair.hearth else pair.synapse_name
        # Synapse fetches only keys asked for by ID, and insists on the optional time.
        wanted = {origin_name: {key_of(origin).key_id: {"minimum_valid_until_ts": 0}}}
        found = ask(pair, name, "/_matrix/key/v2/query", {"server_keys": wanted}).json()
        (document,) = found["server_keys"]
        verify_json(document, origin_name, key_of(origin).verify_key)
        verify_json(document, name, key_of(notary).verify_key)


def test_synapse_takes_our_signature(pair: Pair) -> None:
    user = quote(f"@no body:{pair.synapse_name}", safe="")
    uri = f"/_matrix/federation/v1/query/profile?user_id={user}"
    key = key_of(pair.hearth)
    header = authorize("GET", uri, pair.hearth_name, pair.synapse_name, None, key)
    assert ask(pair, pair.synapse_name, uri, Authorization=header).status_code == 404
    wrong = authorize("GET", uri + "x", pair.hearth_name, pair.synapse_name, None, key)
    assert ask(pair, pair.synapse_name, uri, Authorization=wrong).status_code == 401


def ask(pair: Pair, name: str, uri: str, body: Any = None, **headers: Any) -> httpx.Response:
    context = ssl.create_default_context(cafile=str(pair.authority.path))
    method = "GET" if body is None else "POST"
    return httpx.request(
        method, f"https://{name}{uri}", json=body, headers=headers, verify=context, timeout=30
    )
