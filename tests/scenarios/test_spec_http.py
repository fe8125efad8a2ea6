"""What holds for every endpoint: CORS, OPTIONS, unknown paths and methods, tokens, rate limits, discovery.

https://spec.matrix.org/v1.19/client-server-api/#api-standards
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.harness import PASSWORD, HearthServer, ok, refused, room_path

# None of this depends on where things are stored.
pytestmark = pytest.mark.parametrize("running_server", ["sqlite"], indirect=True)

CORS = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": {"GET", "POST", "PUT", "DELETE", "OPTIONS"},
    "access-control-allow-headers": {"X-Requested-With", "Content-Type", "Authorization"},
}


def has_cors(response: httpx.Response) -> None:
    assert response.headers["access-control-allow-origin"] == "*"
    for name in ("access-control-allow-methods", "access-control-allow-headers"):
        given = {value.strip() for value in response.headers[name].split(",")}
        assert given >= set(CORS[name]), (str(response.url), name)


class TestCors:
    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("GET", "/_matrix/client/versions"),
            ("GET", "/.well-known/matrix/client"),
            ("GET", "/_matrix/client/v3/sync"),
            ("GET", "/_matrix/client/v3/nothing/here"),
            ("GET", "/_matrix/nothing"),
            ("PATCH", "/_matrix/client/v3/sync"),
            ("DELETE", "/_matrix/client/versions"),
            ("POST", "/_matrix/client/v3/login"),
        ],
    )
    def test_every_answer_has_them(self, server: HearthServer, method: str, path: str) -> None:
        has_cors(server.client().http.request(method, path))

    def test_nobody_keeps_an_answer(self, server: HearthServer) -> None:
        alice = server.register("alice")
        for path in ("/sync", "/profile/@nobody:localhost", "/unheard/of"):
            assert alice.get(path).headers["Cache-Control"] == "no-store"

    def test_a_preflight_does_nothing(self, server: HearthServer) -> None:
        alice = server.register("alice")
        room_id = alice.create_room()
        for path in (
            "/_matrix/client/v3/logout",
            f"/_matrix/client/v3{room_path(room_id)}/leave",
            "/_matrix/client/v3/sync",
            "/.well-known/matrix/client",
            "/_matrix/client/versions",
            "/_matrix/client/r0/login",
        ):
            response = alice.http.request(
                "OPTIONS",
                path,
                headers={"Origin": "https://app.example", "Access-Control-Request-Method": "POST"},
            )
            assert response.status_code in (200, 204), path
            has_cors(response)
        nobody = server.client()
        assert nobody.http.options("/_matrix/client/v3/sync").status_code in (200, 204)
        assert room_id in ok(alice.get("/joined_rooms"))["joined_rooms"]


class TestPathsAndMethods:
    @pytest.mark.parametrize(
        "path",
        [
            "/_matrix/client/v3/",
            "/_matrix/client/v3",
            "/_matrix/client/v99/sync",
            "/_matrix/client/v3/sync/more",
            "/_matrix/client/v3/Sync",
            "/_matrix/client/unstable/org.example/thing",
            "/_matrix/client/v3//sync",
            "/_matrix",
            "/_matrix/client/v3/rooms/!a/state/a/b/c",
        ],
    )
    def test_unknown_paths(self, server: HearthServer, path: str) -> None:
        refused(server.client().http.get(path), 404, "M_UNRECOGNIZED")
        refused(server.register().http.post(path, json={}), 404, "M_UNRECOGNIZED")

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/_matrix/client/v3/sync"),
            ("DELETE", "/_matrix/client/v3/login"),
            ("PUT", "/_matrix/client/v3/login"),
            ("PATCH", "/_matrix/client/v3/createRoom"),
            ("GET", "/_matrix/client/v3/createRoom"),
            ("POST", "/_matrix/client/versions"),
            ("GET", "/_matrix/client/v3/rooms/!a:localhost/send/m.room.message/1"),
            ("TRACE", "/_matrix/client/v3/sync"),
        ],
    )
    def test_wrong_methods(self, server: HearthServer, method: str, path: str) -> None:
        refused(server.client().http.request(method, path), 405, "M_UNRECOGNIZED")

    def test_old_paths_still_answer(self, server: HearthServer) -> None:
        alice = server.register("alice")
        assert ok(alice.get("/_matrix/client/r0/account/whoami"))["user_id"] == alice.user_id
        assert "flows" in ok(server.client().get("/_matrix/client/r0/login"))
        room_id = alice.create_room()
        path = f"/_matrix/client/r0{room_path(room_id)}/send/m.room.message/1"
        assert ok(alice.put(path, {"msgtype": "m.text", "body": "x"}))["event_id"]

    def test_percent_encoding_in_paths(self, server: HearthServer) -> None:
        alice = server.register("alice")
        room_id = alice.create_room()
        bare = f"/_matrix/client/v3/rooms/{room_id}/state"
        encoded = f"/_matrix/client/v3/rooms/{quote(room_id, safe='')}/state"
        assert alice.http.get(bare).status_code == alice.http.get(encoded).status_code == 200
        encoded_type = encoded + "/m%2Eroom%2Ecreate/"
        assert ok(alice.http.get(encoded_type))["room_version"]
        assert alice.http.get(encoded + "/m.room.create?format=event").json()["type"] == "m.room.create"

    def test_bytes_that_are_no_text(self, server: HearthServer) -> None:
        alice = server.register("alice")
        room_id = alice.create_room()
        response = alice.http.get(f"/_matrix/client/v3{room_path(room_id)}/state/%ff%fe/")
        assert 400 <= response.status_code < 500


class TestTokens:
    def test_in_the_header_or_the_query(self, server: HearthServer) -> None:
        alice = server.register("alice")
        nobody = server.client()
        path = "/account/whoami"
        assert ok(nobody.get(path, access_token=alice.access_token))["user_id"] == alice.user_id
        refused(nobody.get(path), 401, "M_MISSING_TOKEN")
        for wrong in ("nonsense", "", "ä", alice.access_token + "x", alice.access_token.upper()):
            response = nobody.get(path, access_token=wrong)
            assert response.status_code == 401, wrong
            assert response.json()["errcode"] in ("M_UNKNOWN_TOKEN", "M_MISSING_TOKEN")
            assert response.json().get("soft_logout", False) is False
        for header in ("nonsense", "Basic abc", "Bearer", f"Token {alice.access_token}"):
            response = nobody.http.get(f"/_matrix/client/v3{path}", headers={"Authorization": header})
            assert response.status_code == 401, header
            assert response.json()["errcode"] in ("M_UNKNOWN_TOKEN", "M_MISSING_TOKEN")
        lower = nobody.http.get(
            f"/_matrix/client/v3{path}", headers={"Authorization": f"bearer {alice.access_token}"}
        )
        assert ok(lower)["user_id"] == alice.user_id

    def test_an_unknown_token_is_told_before_a_bad_body(self, server: HearthServer) -> None:
        nobody = server.client()
        response = nobody.http.post("/_matrix/client/v3/createRoom", content=b"{")
        refused(response, 401, "M_MISSING_TOKEN")

    def test_a_bad_token_on_an_open_endpoint_is_no_matter(self, server: HearthServer) -> None:
        headers = {"Authorization": "Bearer nonsense"}
        nobody = server.client()
        assert nobody.http.get("/_matrix/client/versions", headers=headers).status_code == 200
        assert nobody.http.get("/_matrix/client/v3/login", headers=headers).status_code == 200


class TestBodies:
    def test_the_content_type_is_not_asked_for(self, server: HearthServer) -> None:
        alice = server.register("alice")
        room_id = alice.create_room()
        path = f"/_matrix/client/v3{room_path(room_id)}/send/m.room.message/"
        for number, kind in enumerate(("application/x-www-form-urlencoded", "text/plain", "")):
            headers = {"Content-Type": kind} if kind else {}
            body = b'{"msgtype": "m.text", "body": "x"}'
            assert ok(alice.http.put(f"{path}{number}", content=body, headers=headers))["event_id"]

    def test_where_nothing_is_needed_no_body_is_needed(self, server: HearthServer) -> None:
        alice, bob = server.register("alice"), server.register("bob")
        room_id = alice.create_room(preset="public_chat")
        for path in (
            f"{room_path(room_id)}/join",
            f"{room_path(room_id)}/leave",
            f"/join/{quote(room_id)}",
            f"{room_path(room_id)}/leave",
            f"{room_path(room_id)}/forget",
            "/logout",
        ):
            ok(bob.http.post(f"/_matrix/client/v3{path}"))

    @pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'"text"', b"true"])
    def test_json_that_is_no_object(self, server: HearthServer, body: bytes) -> None:
        alice = server.register("alice")
        refused(alice.http.post("/_matrix/client/v3/createRoom", content=body), 400, "M_BAD_JSON")

    @pytest.mark.parametrize("body", [b"{", b"{'a': 1}", b'{"a": \xff}', b"{} {}", b'{"a": NaN}', b"hello"])
    def test_what_is_no_json(self, server: HearthServer, body: bytes) -> None:
        alice = server.register("alice")
        refused(alice.http.post("/_matrix/client/v3/createRoom", content=body), 400, "M_NOT_JSON")

    def test_unknown_keys_are_ignored(self, server: HearthServer) -> None:
        alice = server.register("alice")
        assert alice.create_room(**{"org.example.unknown": {"a": 1}, "preset": "public_chat"})
        assert ok(alice.get("/sync", unknown="x"))["next_batch"]


class TestDiscovery:
    def test_versions(self, server: HearthServer) -> None:
        versions = ok(server.client().get("/_matrix/client/versions"))["versions"]
        for needed in ("r0.6.1", *(f"v1.{minor}" for minor in range(1, 12))):
            assert needed in versions

    def test_well_known(self, server: HearthServer) -> None:
        found = ok(server.client().get("/.well-known/matrix/client"))
        assert found["m.homeserver"]["base_url"].rstrip("/") == server.url

    def test_capabilities(self, server: HearthServer) -> None:
        refused(server.client().get("/capabilities"), 401, "M_MISSING_TOKEN")
        capabilities = ok(server.register().get("/capabilities"))["capabilities"]
        versions = capabilities["m.room_versions"]
        assert versions["default"] in versions["available"]
        assert versions["available"].keys() >= {str(number) for number in range(1, 13)}
        assert set(versions["available"].values()) <= {"stable", "unstable"}
        assert capabilities["m.change_password"] == {"enabled": True}
        assert isinstance(capabilities["m.set_displayname"]["enabled"], bool)
        assert isinstance(capabilities["m.profile_fields"]["enabled"], bool)


@pytest.fixture(scope="module")
def strict_server(running_server: HearthServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server whose patience ends after a few requests."""
    few = {"per_second": 0.05, "burst_count": 3}
    directory: Path = tmp_path_factory.mktemp("strict")
    with HearthServer(
        "sqlite",
        directory,
        settings={
            "rc_message": few,
            "rc_joins": {"local": few, "remote": few},
            "rc_invites": {"per_room": few, "per_user": few, "per_issuer": few},
            "rc_room_creation": few,
            "rc_login": {
                "address": {"per_second": 1000, "burst_count": 1000},
                "account": {"per_second": 1000, "burst_count": 1000},
                "failed_attempts": few,
            },
        },
    ) as strict:
        yield strict


def limited(response: httpx.Response) -> None:
    body = refused(response, 429, "M_LIMIT_EXCEEDED")
    assert 0 < body["retry_after_ms"] <= 60_000
    assert 1 <= int(response.headers["retry-after"]) <= 60
    has_cors(response)


class TestRateLimits:
    def test_messages(self, strict_server: HearthServer) -> None:
        alice, bob = strict_server.register("alice"), strict_server.register("bob")
        room_id = alice.create_room(preset="public_chat")
        for _ in range(3):
            alice.send(room_id, "x")
        path = f"{room_path(room_id)}/send/m.room.message/late"
        limited(alice.put(path, {"body": "x"}))
        ok(alice.get(f"{room_path(room_id)}/messages", dir="b"))
        bob.join(room_id)
        bob.send(room_id, "another has their own")

    def test_a_repeated_transaction_is_answered_all_the_same(self, strict_server: HearthServer) -> None:
        alice = strict_server.register("alice")
        room_id = alice.create_room()
        sent = [alice.send(room_id, "x", transaction_id="same") for _ in range(3)]
        assert len(set(sent)) == 1

    def test_rooms(self, strict_server: HearthServer) -> None:
        alice = strict_server.register("alice")
        for _ in range(3):
            alice.create_room()
        limited(alice.post("/createRoom", {}))

    def test_joins(self, strict_server: HearthServer) -> None:
        alice, bob = strict_server.register("alice"), strict_server.register("bob")
        room_id = alice.create_room(preset="public_chat")
        for _ in range(3):
            bob.join(room_id)
            bob.leave(room_id)
        limited(bob.post(f"/join/{quote(room_id)}"))

    def test_invites(self, strict_server: HearthServer) -> None:
        alice = strict_server.register("alice")
        room_id = alice.create_room()
        for number in range(3):
            alice.invite(room_id, f"@nobody{number}:localhost")
        limited(alice.post(f"{room_path(room_id)}/invite", {"user_id": "@nobody4:localhost"}))

    def test_wrong_passwords(self, strict_server: HearthServer) -> None:
        alice, nobody = strict_server.register("alice"), strict_server.client()
        body = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": alice.user_id}}
        for _ in range(3):
            refused(nobody.post("/login", body | {"password": "wrong"}), 403, "M_FORBIDDEN")
        limited(nobody.post("/login", body | {"password": "wrong"}))
        limited(nobody.post("/login", body | {"password": PASSWORD}))

    def test_nothing_is_an_internal_error(self, strict_server: HearthServer) -> None:
        assert not strict_server.internal_errors()
