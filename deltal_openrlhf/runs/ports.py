"""TCP ports that are still free when a server of another process, or of a later moment, listens on them."""

import socket


def hold_port(address: str = "") -> socket.socket:
    """A socket bound to a free port at this address, or at every one; getsockname()[1] is the port. It is held until the socket is closed.

    A port that is looked up and let go may become the near end of anybody's connection before its server listens. While a socket is bound
    to it, the kernel gives it to nobody who asks for any port. This one does not listen, so a server that sets SO_REUSEADDR, as those of
    torch do, can listen there.
    """
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind((address, 0))
    return held
