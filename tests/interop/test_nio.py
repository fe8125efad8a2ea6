"""Two matrix-nio clients talk in an encrypted room, through a kill -9 of the server, without a loss."""

from pathlib import Path

import pytest

from tests.interop.clients import run_client
from tests.processes import PEERS, ServerProcess

pytestmark = pytest.mark.interop

NIO = PEERS / "nio" / "bin" / "python"
CONVERSATION = Path(__file__).with_name("nio_conversation.py")


@pytest.mark.skipif(not NIO.exists(), reason=f"matrix-nio is not at {NIO.parent.parent}: run `make interop`")
def test_an_encrypted_conversation_survives_a_restart(homeserver: ServerProcess, tmp_path: Path) -> None:
    assert (
        run_client([str(NIO), str(CONVERSATION), homeserver.url, str(tmp_path)], homeserver, tmp_path) == 15
    )
