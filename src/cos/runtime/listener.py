"""The API's port, bound before anything else is started; loads nothing that takes long."""

from __future__ import annotations

import errno
import socket

from cos.errors import PortTaken

HOST = "127.0.0.1"
_BACKLOG = 1024


def bind(port: int) -> socket.socket:
    """Bind the API's port on loopback.

    Args:
        port: 0 takes a free one.

    Raises:
        PortTaken: another program has it, or this account may not use it.
    """
    # Named, because asyncio turns Nagle's algorithm off only on sockets that say they are TCP: without it an answer
    # can wait 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    # Lets a restart take the port at once although connections of the last run are still in TIME_WAIT.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EACCES:
            raise PortTaken(
                f"Port {port} may not be used by this account; choose one above 1023 with --port."
            ) from None
        raise PortTaken(
            f"Port {port} on {HOST} is taken by another program; stop it, or choose another with --port."
        ) from None
    listener.setblocking(False)  # noqa: FBT003  (positional only)
    return listener
