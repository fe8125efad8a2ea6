"""matrix-js-sdk clients that sync all the time talk through a kill -9 of the server, without a loss."""

import shutil
from pathlib import Path

import pytest

from tests.interop.clients import run_client
from tests.processes import PEERS, ServerProcess

pytestmark = pytest.mark.interop

NODE = shutil.which("node")
SDK = PEERS / "js" / "node_modules" / "matrix-js-sdk"
CONVERSATION = Path(__file__).parent / "js" / "conversation.mjs"


@pytest.mark.skipif(NODE is None, reason="there is no Node")
@pytest.mark.skipif(not SDK.exists(), reason=f"matrix-js-sdk is not at {SDK}: run `make interop`")
def test_a_conversation_survives_a_restart(homeserver: ServerProcess, tmp_path: Path) -> None:
    assert NODE is not None
    command = [NODE, str(CONVERSATION), homeserver.url, str(PEERS / "js")]
    assert run_client(command, homeserver, tmp_path) == 13
