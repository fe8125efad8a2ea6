"""matrix-js-sdk with its Rust crypto (WebAssembly) in headless Chromium, the way Element Web runs."""

from pathlib import Path

import pytest

from tests.harness import HearthServer
from tests.interop.chromium import run_page

pytestmark = pytest.mark.interop


def test_two_people_use_rooms(server: HearthServer, tmp_path: Path) -> None:
    assert run_page("rooms.mjs", server.url, tmp_path) == "followed"


def test_keys_outlive_every_device(server: HearthServer, tmp_path: Path) -> None:
    assert run_page("encryption.mjs", server.url, tmp_path) == "restored"


def test_rooms_by_sliding_sync(server: HearthServer, tmp_path: Path) -> None:
    assert run_page("sliding_sync.mjs", server.url, tmp_path) == "slid"
