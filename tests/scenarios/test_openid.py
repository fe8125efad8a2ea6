"""Alice shows a call service who she is: OpenID tokens, asked for and looked up over HTTP."""

from urllib.parse import quote

from tests.harness import Client, HearthServer, Json, ok, refused

USERINFO = "/_matrix/federation/v1/openid/userinfo"


def token(client: Client) -> Json:
    return ok(client.post(f"/user/{quote(client.user_id, safe='')}/openid/request_token"))


def test_anybody_learns_whose_token_it_is(server: HearthServer) -> None:
    """With federation off, too: the test servers federate with nobody."""
    alice, service = server.register("alice"), server.client()
    given = token(alice)
    assert given["token_type"] == "Bearer"
    assert given["matrix_server_name"] == "localhost"
    assert given["expires_in"] == 3600
    assert ok(service.get(USERINFO, access_token=given["access_token"])) == {"sub": alice.user_id}
    again = token(alice)
    assert again["access_token"] != given["access_token"]
    assert ok(service.get(USERINFO, access_token=given["access_token"])) == {"sub": alice.user_id}


def test_it_is_good_for_nothing_else(server: HearthServer) -> None:
    alice, service = server.register("alice"), server.client()
    service.http.headers["Authorization"] = f"Bearer {token(alice)['access_token']}"
    refused(service.get("/account/whoami"), 401, "M_UNKNOWN_TOKEN")
    # nor is an access token one of these
    refused(service.get(USERINFO, access_token=alice.access_token), 401, "M_UNKNOWN_TOKEN")


def test_a_token_must_be_named(server: HearthServer) -> None:
    refused(server.client().get(USERINFO), 401, "M_MISSING_TOKEN")


def test_nobody_gets_a_token_of_somebody_else(server: HearthServer) -> None:
    alice, mallory = server.register("alice"), server.register("mallory")
    path = f"/user/{quote(alice.user_id, safe='')}/openid/request_token"
    refused(mallory.post(path), 403, "M_FORBIDDEN")


def test_tokens_end_with_the_account(server: HearthServer) -> None:
    alice, service = server.register("alice"), server.client()
    given = token(alice)["access_token"]
    body = {"auth": {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": alice.user_id},
                     "password": "correct horse battery staple"}}  # fmt: skip
    ok(alice.post("/account/deactivate", body))
    refused(service.get(USERINFO, access_token=given), 401, "M_UNKNOWN_TOKEN")
