"""With whom this server speaks: `federation_domain_whitelist`, both when asking and when asked."""

from collections.abc import Collection

from federation.errors import NotFederated


class Whitelist:
    """None lets every server through; an empty list none."""

    def __init__(self, server_names: Collection[str] | None) -> None:
        self._allowed = None if server_names is None else frozenset(map(str.lower, server_names))

    def allows(self, server_name: str) -> bool:
        return self._allowed is None or server_name.lower() in self._allowed

    def check(self, server_name: str) -> None:
        if not self.allows(server_name):
            raise NotFederated(server_name)
