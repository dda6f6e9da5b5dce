"""A port of this machine that a test keeps, also while nothing listens there."""

import socket


class Port:
    """Held from its first moment to `close`. Servers that may reuse addresses listen there as often as they like.

    Without one that does, whoever connects is refused: no other test's server gets the port, and no client that tries
    again and again becomes its own peer.
    """

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number: int = self._socket.getsockname()[1]

    @property
    def address(self) -> tuple[str, int]:
        return ("127.0.0.1", self.number)

    def close(self) -> None:
        self._socket.close()
