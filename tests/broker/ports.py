"""Loopback ports that stay ours while nothing listens on them."""

from __future__ import annotations

import socket
import sys

LOOPBACK = "127.0.0.1"
PORTS_TRIED_MAX = 20


class ReservedPort:
    """A loopback port, free when taken, kept from other processes while the broker that listens on it is down.

    Without that, an outgoing connection of any process could be given the number between a kill and a restart, and a
    client that keeps trying to connect could even reach itself. Linux lets a server bind a port that a socket holds
    without listening, where both set SO_REUSEADDR, as Java's do; elsewhere the number is only remembered.
    """

    def __init__(self, number: int = 0) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            if number:  # or connections of an earlier broker, in TIME_WAIT, would make it look taken
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self._socket.bind((LOOPBACK, number))
        except OSError:
            self._socket.close()
            raise
        self.number: int = self._socket.getsockname()[1]
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sys.platform != "linux":
            self._socket.close()

    def release(self) -> None:
        """Let others have it."""
        self._socket.close()


def first_free_port(first: int) -> ReservedPort:
    """The first port from `first` on that nothing listens on; OSError after PORTS_TRIED_MAX."""
    for number in range(first, first + PORTS_TRIED_MAX):
        try:
            return ReservedPort(number)
        except OSError as error:
            taken = error
    raise taken
