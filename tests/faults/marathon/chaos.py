"""Somebody who stops, kills and cuts off servers at random."""

import random
import threading
import time

from tests.federation.cabled import Place


class Chaos:
    """Inside `with`; whoever needs peace holds `peace`."""

    def __init__(self, places: list[Place], seed: str) -> None:
        self.places = places
        self.random = random.Random(seed)
        self.peace = threading.Lock()
        self.done: list[str] = []
        self.failure: BaseException | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Chaos":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()
        if self.failure is not None:
            raise self.failure

    def _run(self) -> None:
        try:
            while not self._over.wait(self.random.uniform(0.3, 3)):
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
        place.process.stop() if act == "stop" else place.process.kill()
        time.sleep(self.random.uniform(0, 1.5))
        place.process.start()
