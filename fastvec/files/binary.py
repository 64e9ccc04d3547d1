"""word2vec's binary format: a line "rows dims", then for every row its word, a space, and float32 values."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from .errors import FileError
from .labeled import Labeled
from .streams import Rows, written
from .text import FETCH, Bytes, counted_from, header, is_word2vec, promised, words_of

_RECORDS = 1000
_RUN_BYTES = 1 << 24


def matches(head: bytes) -> bool:
    """Whether bytes begin with "rows dims", and what comes then is not text."""
    return promised(head) is not None and not is_word2vec(head)


def read(path: Path, limit: int | None, errors: str) -> Labeled:
    """Read a file of consecutive records, with or without newlines between them."""
    from ..kernels import rows as row_kernels
    from ..kernels import text, threads

    with Bytes(path) as data:
        promised, dims, start = header(path, data.view)
        wanted = promised if limit is None else min(promised, limit)
        if wanted * (1 + 4 * dims) > data.size - start:
            problem = f"{data.size} bytes cannot hold the {promised} rows of its first line; {FETCH}"
            raise FileError(path, problem, byte=data.size)
        word_start, word_stop = np.empty(wanted, np.int64), np.empty(wanted, np.int64)
        complete = text.scan_records(data.address, start, data.size, wanted, dims, word_start, word_stop)
        if complete < wanted:
            problem = f"cut short: the file ends within this row, of {promised}; {FETCH}"
            raise FileError(path, problem, row=int(complete), byte=int(word_start[complete]))
        end = int(word_stop[-1]) + 1 + 4 * dims if wanted else start
        if wanted == promised and data.view[end:].strip(b"\n"):
            raise FileError(path, f"continues after the {promised} rows of its first line; {FETCH}", byte=end)
        vectors = np.empty((wanted, dims), np.float32)
        count = threads.get_num_threads()

        def gather(part: tuple[int, int]) -> None:
            first, last = part
            text.gather_records(first, last, data.address, dims, word_stop, vectors)

        threads.run(gather, row_kernels.blocks(wanted, 4 * dims, count), count)
        bad = row_kernels.first_not_finite(vectors, count)
        if bad >= 0:
            problem = f"NaN or inf, or bytes out of step; {FETCH}"
            raise FileError(path, problem, row=bad, byte=int(word_stop[bad]) + 1)
        # A word ends at the first space; line ends are ordinary characters.
        words = words_of(path, data, word_start, word_stop, errors, between=" ")
        return Labeled(path, "word2vec-binary", vectors, words)


def row_blocks(path: Path, *, errors: str) -> tuple[int, int, Iterator[Any]]:
    """The dims, the number of rows, and the (words, vectors) of runs of records."""
    data = Bytes(path)
    promised, dims, start = header(path, data.view)

    def blocks() -> Iterator[tuple[tuple[str, ...], NDArray[np.float32]]]:
        from ..kernels import text

        at, step = start, max(1, _RUN_BYTES // (4 * dims))
        with data:
            for row in range(0, promised, step):
                rows = min(step, promised - row)
                begins, ends = np.empty(rows, np.int64), np.empty(rows, np.int64)
                complete = text.scan_records(data.address, at, data.size, rows, dims, begins, ends)
                if complete < rows:
                    problem = f"cut short: the file ends within this row, of {promised}; {FETCH}"
                    raise FileError(path, problem, row=row + int(complete), byte=int(begins[complete]))
                vectors = np.empty((rows, dims), np.float32)
                text.gather_records(0, rows, data.address, dims, ends, vectors)
                with counted_from(row):
                    words = words_of(path, data, begins, ends, errors, between=" ")()
                yield words, vectors
                at = int(ends[-1]) + 1 + 4 * dims
            if data.view[at:].strip(b"\n"):
                problem = f"continues after the {promised} rows of its first line; {FETCH}"
                raise FileError(path, problem, byte=at)

    return dims, promised, blocks()


def write(file: IO[bytes], words: Rows[str], vectors: NDArray[np.float32]) -> None:
    """Write a file as the original program does, with a newline after every row."""
    file.write(b"%d %d\n" % vectors.shape)
    for start, block in zip(itertools.count(0, _RECORDS), written(words, _RECORDS), strict=False):
        pairs = zip(block, vectors[start : start + _RECORDS].astype("<f4"), strict=True)
        file.write(b"".join([word.encode() + b" " + row.tobytes() + b"\n" for word, row in pairs]))
