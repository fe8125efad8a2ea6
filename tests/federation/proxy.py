"""A cable between servers that can be pulled out: TCP from one port to another, or nothing at all."""

import contextlib
import socket
import threading


class Proxy:
    """Listens on `port` and forwards to `target`; while `cut`, connections are refused and none survives."""

    def __init__(self, port: int, target: int) -> None:
        self.target = target
        self.cut = False
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        threading.Thread(target=self._accept, daemon=True).start()

    def pull(self) -> None:
        self.cut = True
        for each in list(self._open):
            _end(each)

    def plug(self) -> None:
        self.cut = False

    def close(self) -> None:
        self.pull()
        _end(self._listener)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                inner, _ = self._listener.accept()
                if self.cut:
                    _end(inner)
                    continue
                try:
                    outer = socket.create_connection(("127.0.0.1", self.target), timeout=5)
                except OSError:
                    _end(inner)
                    continue
                outer.settimeout(None)
                self._open |= {inner, outer}
                for pair in ((inner, outer), (outer, inner)):
                    threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for each in (source, sink):
            self._open.discard(each)
            _end(each)


def _end(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
