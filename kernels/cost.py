"""The one place that weighs the ways to search: scan of codes, or the direct float32 pass.

Unit of cost: reading one float32 of the vectors from memory, by all threads. The numbers
are fits to times of both ways for 50 to 3,072 dimensions and 1 to 32 queries.
"""

from .micro.record import MicroKernel

_CALL = 1 << 22
"""What a scan takes whatever its size: preparing, draining, rescoring."""


def scan_pays(n: int, m: int, dims: int, k: int, kernel: MicroKernel, *, encoded: bool) -> bool:
    """Whether m queries over n rows are sooner done by a scan than by the direct pass.

    Rows that are encoded are scanned however few they are: only a scan notices vectors
    that were changed behind their codes.
    """
    if 8 * k > n:  # so large a k leaves the bound little to discard
        return False
    if encoded:
        return True
    direct = n * (33 + dims + m * (20 + 0.15 * dims))
    scan = _CALL + n * (780 + 1.67 * dims + m * dims / (4 * kernel.speed))
    return scan < direct


def scan_threads(n: int, m: int, dims: int, num_threads: int) -> int:
    """Threads that a scan is worth: waking one takes as long as reading some megabytes of codes.

    Some 25 queries take as long as reading the codes once.
    """
    return max(1, min(num_threads, n * dims * (25 + m) // (25 * (3 << 21))))


def gathering_pays(n: int, chosen: int, m: int) -> bool:
    """Whether to copy the codes of the rows that a filter lets through, and scan only those.

    A copied row costs some times what scanning it once takes: few queries must spare many.
    """
    return chosen * (2 if m > 8 else 8) < n


def queries_at_once(k: int) -> int:
    """Queries that are scanned and rescored together: what survives of them takes some 100 MB."""
    return max(1024, (1 << 18) // k)


_LITTLE = 1 << 19


def exact_dense_pays(m: int, n: int, dims: int) -> bool:
    """Whether float64 sums give an (m, n) matrix of cosines as soon as a product of packed rows.

    With up to eight queries they go as fast as the rows are read, unless these are so short
    that adding up lanes takes longer; and little data is done before packing it is.
    """
    return min(m, n) <= min(8, max(1, dims // 8)) or m * n * dims <= _LITTLE


def dense_slices_pay(m: int, n: int, num_threads: int) -> bool:
    """Whether integer products of slices are sooner done than one product of float32.

    Reckoned, not measured: int8 tiles multiply sixteen times as fast as float32 does, so six
    products take six sixteenths of the time, ten where rows have large entries; slicing a row
    takes as long as some twenty float32 products with it. Threads share the vectors.
    """
    return m >= 64 and n >= 64 * num_threads


def symmetric_product_pays(m: int) -> bool:
    """Whether BLAS is sooner than own tiles for m rows with themselves: the result stays in cache."""
    return m * m <= 1 << 24
