"""Removes the GPU code of all architectures but one from a CUDA library, so that it packs small.

A CUDA library holds "fat binaries". Each has a header (magic, version 1, its own size 16, the size of the rest) and then images. An image
has a header of its own (kind: PTX 1 or ELF 2; header size; payload size; at byte 28 the architecture, 90 for Hopper). The payloads of other
images become zeros. Offsets and headers stay, so the driver still finds the kept images. On another GPU the library has no code.
"""

import struct

_MAGIC = struct.pack("<I", 0xBA55ED50)
_ELF = 2


def keep_architecture(library: bytearray, architecture: int) -> tuple[int, int]:
    """Change the library in place. Returns the bytes of GPU code that were kept, and that were zeroed."""
    kept = zeroed = position = 0
    while (position := library.find(_MAGIC, position)) >= 0:
        _, version, header, size = struct.unpack_from("<IHHQ", library, position)
        if (version, header) != (1, 16):  # the four bytes by chance
            position += len(_MAGIC)
            continue
        image, end = position + header, position + header + size
        while image < end:
            kind, _, image_header, payload = struct.unpack_from("<HHIQ", library, image)
            (found,) = struct.unpack_from("<I", library, image + 28)
            start = image + image_header
            if (kind, found) == (_ELF, architecture):
                kept += payload
            else:
                library[start : start + payload] = bytes(payload)
                zeroed += payload
            image = start + payload
        position = end
    return kept, zeroed
