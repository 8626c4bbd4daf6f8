"""The token of a reward service. A request that carries it is answered. It is in an environment variable, never on a command line or in a
log.
"""

import hmac
import os
from collections.abc import Iterable

from deltal_openrlhf.runs.redaction import Key

VARIABLE = "DELTAL_REWARD_TOKEN"
SHORTEST = 16
"""Characters. Nobody may guess it."""


def read_token() -> Key | None:
    """The token of this environment. None if there is none. Raises ValueError for one that is too short or that a header cannot hold."""
    token = os.environ.get(VARIABLE)
    if not token:
        return None
    if len(token) < SHORTEST or not all("!" <= character <= "~" for character in token):
        raise ValueError(
            f"{VARIABLE} is a text of {len(token)} characters, allowed are {SHORTEST} or more, of ASCII and without spaces; `openssl rand "
            "-hex 32` makes one"
        )
    return Key(token)


def headers_of(token: str | None) -> dict[str, str]:
    """The headers that carry the token."""
    return {"Authorization": f"Bearer {str(token)}"} if token else {}


def is_borne(token: str, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a request carries the token. headers: as ASGI has them, with names in small letters."""
    given = [value for name, value in headers if name == b"authorization"]
    scheme, _, value = given[0].partition(b" ") if len(given) == 1 else (b"", b"", b"")
    return hmac.compare_digest(value.strip(), token.encode()) and scheme.lower() == b"bearer"
