"""The API's port, bound before anything else is started; loads nothing that takes long."""

from __future__ import annotations

import errno
import socket

from cos.errors import BadSetting, PortTaken

HOST = "127.0.0.1"
_BACKLOG = 1024


def bind(port: int, host: str = HOST) -> socket.socket:
    """Bind the API's port, on loopback unless another address is given.

    Args:
        port: 0 takes a free one.
        host: an address of this machine, or a name of one.

    Raises:
        PortTaken: another program has it, or this account may not use it.
        BadSetting: the host is no address of this machine.
    """
    family, address = _resolved(host)
    # Named, because asyncio turns Nagle's algorithm off only on sockets that say they are TCP: without it an answer
    # can wait 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    # Lets a restart take the port at once although connections of the last run are still in TIME_WAIT.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EACCES:
            raise PortTaken(
                f"Port {port} may not be used by this account; choose one above 1023 with --port."
            ) from None
        if error.errno == errno.EADDRNOTAVAIL:
            raise _no_address(host) from None
        raise PortTaken(
            f"Port {port} on {address} is taken by another program; stop it, or choose another with --port."
        ) from None
    listener.setblocking(False)  # noqa: FBT003  (positional only)
    return listener


def _resolved(host: str) -> tuple[socket.AddressFamily, str]:
    if host == "localhost":  # whatever a hosts file says: it is what asks for no token
        return socket.AF_INET, HOST
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise _no_address(host) from None
    # Where a name has both, IPv4: it is what `127.0.0.1` in a client's settings means.
    family, _, _, _, place = min(found, key=lambda one: one[0] != socket.AF_INET)
    return family, str(place[0])


def _no_address(host: str) -> BadSetting:
    return BadSetting(
        f"The setting COS_HOST={host} cannot be used: it is no address of this machine; "
        "127.0.0.1 is reached from here alone, 0.0.0.0 from everywhere."
    )
