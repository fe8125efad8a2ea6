"""Alice's new phone meets her tablet to be signed in by QR code: MSC4388, and MSC4108 as of 2024."""

from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.harness import Client, HearthServer, ok, refused

JSON = "/_matrix/client/unstable/io.element.msc4388/rendezvous"
PLAIN = "/_matrix/client/unstable/org.matrix.msc4108/rendezvous"


@pytest.fixture
def tablet(server: HearthServer) -> Client:
    return server.register("alice")


@pytest.fixture
def phone(server: HearthServer) -> Client:
    return server.client()


def plain(
    client: Client, method: str, url: str, text: str | bytes | None = None, **headers: str
) -> httpx.Response:
    """A request with text/plain, without a token."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    if text is not None:
        names.setdefault("Content-Type", "text/plain")
    return client.http.request(method, url, content=text, headers=names)


class TestJson:
    def test_two_devices_talk(self, tablet: Client, phone: Client) -> None:
        assert ok(tablet.get(JSON)) == {"create_available": True}
        made = ok(tablet.post(JSON, {"data": "hello"}))
        assert 0 < made["expires_in_ms"] <= 300_000
        path = f"{JSON}/{made['id']}"
        seen = ok(phone.get(path))
        assert (seen["data"], seen["sequence_token"]) == ("hello", made["sequence_token"])
        answer = {"data": "hello yourself", "sequence_token": seen["sequence_token"]}
        sent = ok(phone.put(path, answer))
        assert sent["sequence_token"] != seen["sequence_token"]
        assert ok(phone.put(path, answer)) == sent, "the same again is the request whose answer was lost"
        late = {"data": "hello?", "sequence_token": made["sequence_token"]}
        refused(tablet.put(path, late), 409, "IO_ELEMENT_MSC4388_CONCURRENT_WRITE")
        assert ok(tablet.get(path))["data"] == "hello yourself"
        assert ok(tablet.delete(path)) == {}
        for gone in (phone.get(path), phone.put(path, answer), phone.delete(path)):
            refused(gone, 404, "M_NOT_FOUND")

    def test_strangers_make_no_sessions(self, phone: Client) -> None:
        assert ok(phone.get(JSON)) == {"create_available": False}
        refused(phone.post(JSON, {"data": "x"}), 403, "M_FORBIDDEN")

    def test_browsers_are_not_led_here(self, tablet: Client, phone: Client) -> None:
        path = f"{JSON}/{ok(tablet.post(JSON, {'data': 'x'}))['id']}"
        refused(plain(phone, "GET", path, Sec_Fetch_Mode="navigate"), 403, "M_FORBIDDEN")
        assert plain(phone, "GET", path, Sec_Fetch_Mode="cors").status_code == 200

    def test_size(self, tablet: Client) -> None:
        made = ok(tablet.post(JSON, {"data": "x" * 4096}))
        refused(tablet.post(JSON, {"data": "x" * 4097}), 413, "M_TOO_LARGE")
        large: Any = {"data": "é" * 2049, "sequence_token": made["sequence_token"]}
        refused(tablet.put(f"{JSON}/{made['id']}", large), 413, "M_TOO_LARGE")


class TestPlain:
    def test_two_devices_talk(self, server: HearthServer, phone: Client) -> None:
        made = plain(phone, "POST", PLAIN, "hello")
        assert made.status_code == 201
        url = made.json()["url"]
        assert url.startswith(server.url) and PLAIN in url
        path = url[url.index("/_matrix") :]
        etag = made.headers["ETag"]
        assert parsedate_to_datetime(made.headers["Expires"]) > parsedate_to_datetime(
            made.headers["Last-Modified"]
        )
        assert "ETag" in made.headers["Access-Control-Expose-Headers"]

        seen = plain(phone, "GET", path)
        assert (seen.status_code, seen.text, seen.headers["ETag"]) == (200, "hello", etag)
        assert seen.headers["Content-Type"] == "text/plain"
        same = plain(phone, "GET", path, If_None_Match=etag)
        assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", etag)
        sent = plain(phone, "PUT", path, "answer", If_Match=etag)
        assert sent.status_code == 202 and sent.headers["ETag"] != etag
        late = plain(phone, "PUT", path, "late", If_Match=etag)
        assert late.status_code == 412 and late.json()["org.matrix.msc4108.errcode"] == "M_CONCURRENT_WRITE"
        assert late.headers["ETag"] == sent.headers["ETag"]
        assert plain(phone, "GET", path, If_None_Match=etag).text == "answer"
        assert plain(phone, "DELETE", path).status_code == 204
        refused(plain(phone, "GET", path), 404, "M_NOT_FOUND")

    def test_browsers_may_send_the_headers(self, phone: Client) -> None:
        allowed = phone.http.options(PLAIN).headers["Access-Control-Allow-Headers"]
        assert "If-Match" in allowed and "If-None-Match" in allowed

    def test_refusals(self, phone: Client) -> None:
        url = plain(phone, "POST", PLAIN, "x" * 4096).json()["url"]
        path = url[url.index("/_matrix") :]
        refused(plain(phone, "POST", PLAIN, "x" * 4097), 413, "M_TOO_LARGE")
        refused(plain(phone, "PUT", path, "x"), 400, "M_MISSING_PARAM")
        refused(plain(phone, "POST", PLAIN, "{}", Content_Type="application/json"), 400, "M_INVALID_PARAM")
        refused(plain(phone, "POST", PLAIN, b"\xff"), 400, "M_INVALID_PARAM")
        refused(plain(phone, "GET", f"{PLAIN}/nonsense"), 404, "M_NOT_FOUND")


def test_it_is_announced_unless_switched_off(server: HearthServer, phone: Client, tmp_path: Path) -> None:
    flags = ("org.matrix.msc4108", "io.element.msc4388")
    features = ok(phone.get("/_matrix/client/versions"))["unstable_features"]
    assert all(features[flag] for flag in flags)
    with HearthServer("sqlite", tmp_path, settings={"rendezvous": {"enabled": False}}) as without:
        client = without.client()
        features = ok(client.get("/_matrix/client/versions"))["unstable_features"]
        assert not any(flag in features for flag in flags)
        refused(client.get(JSON), 404, "M_UNRECOGNIZED")
        refused(plain(client, "POST", PLAIN, "x"), 404, "M_UNRECOGNIZED")
        refused(without.register("alice").post(JSON, {"data": "x"}), 404, "M_UNRECOGNIZED")
