"""What the server tells clients of itself: TURN credentials, services for calls, whom to ask for help."""

import base64
import hashlib
import hmac
import time
from pathlib import Path

from tests.harness import HearthServer, ok, refused

TRANSPORTS = "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports"
TURN = {"turn_uris": ["turn:turn.example.org?transport=udp"]}
LIVEKIT = {"type": "livekit", "livekit_service_url": "https://livekit.example.org"}


def test_nothing_is_configured(server: HearthServer) -> None:
    alice = server.register("alice")
    assert ok(alice.get("/voip/turnServer")) == {}
    assert ok(alice.get(TRANSPORTS)) == {"rtc_transports": []}
    refused(server.client().get(TRANSPORTS), 401, "M_MISSING_TOKEN")
    for document in ("support", "policy_server"):
        refused(server.client().get(f"/.well-known/matrix/{document}"), 404, "M_NOT_FOUND")


def test_what_is_configured(tmp_path: Path) -> None:
    support = {"contacts": [{"role": "m.role.admin", "matrix_id": "@admin:localhost"}]}
    keys = {"ed25519": "6yhHGKhCiXTSEN2ksjV7kX_N6rBQZ3Xb-M7LlC6NS-s"}
    secret = tmp_path / "secret"
    secret.write_text("hush\n")
    settings = {
        **TURN,
        "turn_shared_secret_path": str(secret),
        "turn_user_lifetime": "2h",
        "turn_allow_guests": False,
        "allow_guest_access": True,
        "matrix_rtc": {"transports": [LIVEKIT]},
        "public_baseurl": "https://matrix.example.org/",
        "well_known_support": support,
        "policy_server_public_keys": keys,
    }
    with HearthServer("sqlite", tmp_path / "hearth", settings=settings) as server:
        alice, anybody, guest = server.register("alice"), server.client(), server.client()
        turn = ok(alice.get("/voip/turnServer"))
        assert turn["uris"] == TURN["turn_uris"]
        assert turn["ttl"] == 7200
        expires, _, user_id = turn["username"].partition(":")
        assert user_id == alice.user_id
        assert abs(int(expires) - time.time() - 7200) < 10
        mac = hmac.new(b"hush", turn["username"].encode(), hashlib.sha1).digest()
        assert turn["password"] == base64.b64encode(mac).decode()
        guest.adopt(ok(guest.post("/register", {}, kind="guest")))
        assert ok(guest.get("/voip/turnServer")) == {}
        assert ok(guest.get(TRANSPORTS)) == {"rtc_transports": [LIVEKIT]}
        well_known = ok(anybody.get("/.well-known/matrix/client"))
        assert well_known["org.matrix.msc4143.rtc_foci"] == [LIVEKIT]
        assert ok(anybody.get("/.well-known/matrix/support")) == support
        assert ok(anybody.get("/.well-known/matrix/policy_server")) == {"public_keys": keys}


def test_one_name_for_everybody(tmp_path: Path) -> None:
    settings = {**TURN, "turn_username": "u", "turn_password": "p"}
    with HearthServer("sqlite", tmp_path, settings=settings) as server:
        turn = ok(server.register("alice").get("/voip/turnServer"))
        assert turn == {"username": "u", "password": "p", "uris": TURN["turn_uris"], "ttl": 3600}
