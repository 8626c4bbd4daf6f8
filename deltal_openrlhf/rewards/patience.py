"""Bounds the time in which a request has to arrive. uvicorn itself waits for the rest of a request as long as the client likes."""

import asyncio

from uvicorn.protocols.http.auto import AutoHTTPProtocol

SECONDS_TO_ARRIVE = 30.0
"""From its first byte, or from the connection, to the last byte of its body. All bodies are small, and clients are near."""
TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class ImpatientProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """One connection. It is closed if a request has not arrived as a whole in time. The app may take any time for its answer."""

    seconds = SECONDS_TO_ARRIVE
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Start the clock while a request is arriving, and stop it once it is complete."""
        cycle = self.cycle
        if cycle is not None and not cycle.more_body and not cycle.response_complete:
            self._forget()
        elif self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(self.seconds, self._give_up)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            cycle = self.cycle
            if cycle is None or not cycle.response_started or cycle.response_complete:
                self.transport.write(TIMED_OUT)
            self.transport.close()
