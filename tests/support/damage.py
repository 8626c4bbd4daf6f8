"""What a bad disk and a kill do to files."""

from pathlib import Path


def flip_a_bit(path: Path) -> None:
    """In the middle of the file; its size stays."""
    with open(path, "r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))
