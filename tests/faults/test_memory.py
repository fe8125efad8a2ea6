"""4,000 clients may wait for news on one process, and it stays under 300 MB.

https://spec.matrix.org/v1.19/client-server-api/#syncing
"""

import asyncio

import pytest

from benchmarks.waiting import waiting_syncs
from tests.processes import ServerProcess


@pytest.mark.interop
def test_four_thousand_waiting_syncs(homeserver: ServerProcess) -> None:
    assert asyncio.run(waiting_syncs(homeserver, 4000)).resident_bytes < 300_000_000
