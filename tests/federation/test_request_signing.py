"""The Authorization header, as others write it and as we do."""

import orjson
import pytest

from federation.request_signing import Authorization, authorize, parse, signed_bytes
from homeserver.protocol import canonical_json
from homeserver.protocol.signing import SigningKey

EXPECTED = Authorization("a.test:8448", "b.test", "ed25519:k", "abc+/")


@pytest.mark.parametrize(
    "header",
    [
        'X-Matrix origin="a.test:8448",destination="b.test",key="ed25519:k",sig="abc+/"',
        "X-Matrix origin=a.test:8448,destination=b.test,key=ed25519:k,sig=abc+/",
        'x-matrix   origin="a.test:8448" , destination=b.test\t,\tkey="ed25519:k",  sig="abc+/"  ',
        'X-Matrix ORIGIN="a.test:8448",Destination="b.test",KEY="ed25519:k",Sig="abc+/"',
        'X-Matrix sig="abc\\+/",key="ed25519\\:k",new="x, y=\\"z\\"",destination="b.test",origin=a.test:8448',
        'X-Matrix ,origin="a.test:8448",,destination="b.test",key="ed25519:k",signature="abc+/",',
    ],
)
def test_what_other_servers_send(header: str) -> None:
    assert parse(header) == EXPECTED


def test_the_destination_may_be_missing() -> None:
    header = 'X-Matrix origin="a.test",key="ed25519:k",sig="abc"'
    assert parse(header) == Authorization("a.test", None, "ed25519:k", "abc")


@pytest.mark.parametrize(
    "header",
    [
        "",
        "X-Matrix",
        "Bearer abc",
        'X-Matrix origin="a.test",key="ed25519:k"',
        'X-Matrix origin="a.test,key="ed25519:k",sig="abc',
        'X-Matrix origin=,key="ed25519:k",sig="abc"',
        "X-Matrix " + "a=b," * 5000,
        'X-Matrix origin="' + "\\" * 4000,
    ],
)
def test_what_is_no_signature(header: str) -> None:
    assert parse(header) is None


def test_ours_is_written_so_that_old_servers_read_it() -> None:
    key = SigningKey.generate("k")
    header = authorize("GET", "/path?q=%20", "a.test", "b.test", None, key)
    signature = key.sign(signed_bytes("GET", "/path?q=%20", "a.test", "b.test", None))
    assert header == f'X-Matrix origin="a.test",destination="b.test",key="ed25519:k",sig="{signature}"'


@pytest.mark.parametrize("content", [None, {}, {"z": [1, {"b": "é\u2028"}], "a": None}])
def test_the_signed_bytes_are_canonical_json(content: object) -> None:
    encoded = None if content is None else canonical_json.encode(content)
    signed = signed_bytes("PUT", '/a?b="\\é', "a.test", "b.test", encoded)
    value = {"method": "PUT", "uri": '/a?b="\\é', "origin": "a.test", "destination": "b.test"}
    if content is not None:
        value["content"] = content  # type: ignore[assignment]
    assert signed == canonical_json.encode(value)
    assert orjson.loads(signed) == value
