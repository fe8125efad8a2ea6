"""Which addresses may be connected to."""

import pytest

from federation.addresses import AddressFilter
from homeserver.app.config.options import DENIED_ADDRESSES

DEFAULT = AddressFilter(DENIED_ADDRESSES)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.0.1", "10.1.2.3", "172.31.255.255", "192.168.0.1", "169.254.169.254",
        "100.64.0.1", "0.0.0.0", "255.255.255.255", "224.0.0.1", "198.18.0.1",
        "::", "::1", "fe80::1", "fd00::1", "ff02::1", "2001:db8::1",
        # the same, dressed up
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:0001::", "64:ff9b::169.254.169.254",
    ],
)
def test_private_addresses_are_refused(address: str) -> None:
    assert not DEFAULT.allows(address)


@pytest.mark.parametrize("address", ["9.9.9.9", "172.32.0.1", "2620:fe::fe", "::ffff:9.9.9.9"])
def test_public_addresses_are_not(address: str) -> None:
    assert DEFAULT.allows(address)


def test_exceptions_win() -> None:
    allowed = AddressFilter(DENIED_ADDRESSES, ["10.1.0.0/16", "::1"])
    assert allowed.allows("10.1.2.3") and allowed.allows("::1") and allowed.allows("::ffff:10.1.2.3")
    assert not allowed.allows("10.2.0.1")


def test_no_list_allows_every_real_address() -> None:
    assert AddressFilter([]).allows("127.0.0.1")
    assert not AddressFilter([]).allows("0.0.0.0")
