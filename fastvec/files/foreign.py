"""Files that are often given and hold no format of ours: what each is, and what to do about it."""

from __future__ import annotations

_KINDS = (
    (b"\x1f\x8b", "compressed by gzip; decompress it first"),
    (b"BZh", "compressed by bzip2; decompress it first"),
    (b"\xfd7zXZ", "compressed by xz; decompress it first"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd; decompress it first"),
    (b"PK\x03\x04", "a zip archive (.npz, perhaps); take its file out and give that"),
    (b"\x89HDF", "HDF5, which is not a format of fastvec; write its array as .npy"),
    (b"\xff\xfe", "UTF-16; save it as UTF-8"),
    (b"\xfe\xff", "UTF-16; save it as UTF-8"),
    *(
        (
            b"\x80" + bytes([protocol]),
            "a pickle, which can run code and is never opened; export it as word2vec text",
        )
        for protocol in range(6)
    ),
)


def kind(head: bytes) -> str | None:
    """What a file that begins with ``head`` is, and what to do; None if it is not one of these.

    Example:
        >>> kind(b"BZh91AY")
        'compressed by bzip2; decompress it first'
    """
    return next((what for magic, what in _KINDS if head.startswith(magic)), None)
