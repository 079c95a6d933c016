"""CRC32 comes from the standard library until AWS's is loaded: nobody may see which."""

from __future__ import annotations

from alonzo.services.s3 import checksums


def test_both_libraries_give_the_same_crc32() -> None:
    """Content in pieces has the same digest before AWS's library is loaded and after."""
    pieces = [b"", b"a picture", bytes(range(256)) * 300]
    digests = []
    checksums.crt.cache_clear()
    for _ in range(2):
        made = checksums.new("CRC32")
        for piece in pieces:
            made.update(piece)
        digests.append((made.digest(), checksums.crt.cache_info().currsize))
        checksums.crt()
    assert digests[0][0] == digests[1][0]
    assert [loaded for _, loaded in digests] == [0, 1]
