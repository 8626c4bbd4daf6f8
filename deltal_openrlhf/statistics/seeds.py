"""Seeds of the parts of a computation, so that no part depends on how many came before it."""

from hashlib import sha256


def seed_of(seed: int, *part: str | int) -> int:
    """The seed of one part, 0 to 2^63 - 1, from that of the whole and the part's name or number."""
    key = "\0".join(map(str, (seed, *part)))
    return int.from_bytes(sha256(key.encode()).digest()[:8], "big") >> 1
