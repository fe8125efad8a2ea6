"""Somebody who stops, kills and cuts off servers at random.

How often is counted in messages, not in seconds: a slow machine has as much to bear as a quick one.
"""

import random
import threading
import time

from tests.federation.cabled import Place

EVERY = 20
"""Messages from one disturbance to the next, as a rule."""


class Chaos:
    """Inside `with`; whoever needs peace holds `peace`."""

    def __init__(self, places: list[Place], seed: str) -> None:
        self.places = places
        self.random = random.Random(seed)
        self.peace = threading.Lock()
        self.down: Place | None = None
        self.done: list[str] = []
        self.failure: BaseException | None = None
        self._over = False
        self._due = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Chaos":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over = True
        self._due.set()
        self._thread.join()
        if self.failure is not None:
            raise self.failure

    def hear(self, messages: int) -> None:
        """That so many were said."""
        if self.random.random() < messages / EVERY:
            self._due.set()

    def _run(self) -> None:
        try:
            while True:
                self._due.wait()
                self._due.clear()
                if self._over:
                    return
                time.sleep(self.random.uniform(0, 0.5))
                with self.peace:
                    self._disturb()
        except BaseException as failure:
            self.failure = failure

    def _disturb(self) -> None:
        act = self.random.choice(["cut", "cut", "stop", "kill"])
        place = self.random.choices(self.places, [1 if each.process.name == "synapse" else 3
                                                  for each in self.places])[0]  # fmt: skip
        self.done.append(f"{act} {place.name}")
        print(f"{time.monotonic():.1f} {act} {place.name}")
        if act == "cut":
            place.proxy.pull()
            time.sleep(self.random.uniform(0.2, 3))
            place.proxy.plug()
            return
        self.down = place
        place.process.stop() if act == "stop" else place.process.kill()
        time.sleep(self.random.uniform(0, 1.5))
        place.process.start()
        self.down = None
