"""The number of threads."""

from .kernels import settings, threads


def get_num_threads() -> int:
    """The number of threads of a call without ``num_threads``.

    It is the number set by ``set_num_threads``, else ``FASTVEC_NUM_THREADS``, else the number of
    processors that this process may use (by its affinity and its control group's share).

    Raises:
        ValueError: if ``FASTVEC_NUM_THREADS`` is not an integer that ``set_num_threads`` accepts.

    Example:
        >>> import fastvec
        >>> fastvec.get_num_threads() >= 1
        True
    """
    return threads.get_num_threads()


def set_num_threads(n: int) -> None:
    """Set the number of threads of all later calls in this process.

    Args:
        n: from 1 to 1,024, or to four times the number of the computer's processors if that is more.

    Raises:
        ValueError: if n is out of this range.
        TypeError: if n is not an integer.

    Example:
        >>> import fastvec
        >>> before = fastvec.get_num_threads()
        >>> fastvec.set_num_threads(1)
        >>> fastvec.get_num_threads()
        1
        >>> fastvec.set_num_threads(before)
    """
    from ._checks import whole_number

    threads.set_num_threads(whole_number(n, "n", 1, settings.MOST_THREADS))
