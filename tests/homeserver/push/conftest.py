from tests.storage.conftest import db, engine

__all__ = ["db", "engine"]
