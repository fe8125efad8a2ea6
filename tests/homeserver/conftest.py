"""Services are tested on real databases too: the fixture `db`, on both engines."""

from tests.storage.conftest import db, engine

__all__ = ["db", "engine"]
