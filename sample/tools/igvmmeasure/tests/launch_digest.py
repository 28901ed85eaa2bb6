# SPDX-License-Identifier: MIT
"""The constants of the unit tests in src/digest.rs, computed a second way, from the SEV-SNP firmware interface's text.

PAGE_INFO: current digest (48 bytes), SHA-384 of the page or zero (48), length (2), page type (1), five zero bytes, address (8).
"""

import hashlib
import struct


def extend(current: bytes, page_type: int, gpa: int, page: bytes | None) -> bytes:
    contents = bytes(48) if page is None else hashlib.sha384(page.ljust(4096, b"\0")).digest()
    return hashlib.sha384(struct.pack("<48s48sHB5xQ", current, contents, 0x70, page_type, gpa)).digest()


def every_kind(native_zero: bool) -> bytes:
    vmsa = bytearray(4096)
    vmsa[0x158:0x160] = struct.pack("<Q", 0x31)  # CR0
    pages = [
        (1, 0x1000, b"hello"),
        (3, 0x2000, None) if native_zero else (1, 0x2000, b""),
        (5, 0x4000, None),
        (6, 0x5000, None),
        (4, 0x6000, None),
        (4, 0x7000, None),
        (2, 0xFFFFFFFFF000, bytes(vmsa)),
    ]
    digest = bytes(48)
    for page in pages:
        digest = extend(digest, *page)
    return digest


print("ONE_NORMAL_PAGE", extend(bytes(48), 1, 0x1000, b"hello").hex())
print("EVERY_KIND_OF_PAGE", every_kind(False).hex())
print("NATIVE_ZEROES", every_kind(True).hex())
