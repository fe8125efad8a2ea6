"""Ann at one server and Bob at the other talk in secret, and notice each other's devices come and go."""

from pathlib import Path

import pytest

from tests.interop.clients import run_client
from tests.interop.federation.sides import Direction
from tests.processes import PEERS, ROOT

pytestmark = pytest.mark.interop

NIO = PEERS / "nio" / "bin" / "python"
SCRIPT = Path(__file__).with_name("nio_across.py")


@pytest.mark.skipif(not NIO.exists(), reason="matrix-nio is not installed: make peers")
def test_an_encrypted_conversation(direction: Direction, tmp_path: Path) -> None:
    home, away = direction.home, direction.away
    command = [
        "env", f"PYTHONPATH={ROOT}", str(NIO), str(SCRIPT), home.process.url, home.name, away.process.url,
        away.name, direction.version, str(tmp_path),
    ]
    assert run_client(command, direction.sides.hearth.process, tmp_path) == 9
