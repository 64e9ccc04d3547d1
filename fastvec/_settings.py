"""The number of threads."""

from .kernels import settings, threads


def get_num_threads() -> int:
    """Threads that a call uses if it is not told otherwise.

    What ``set_num_threads`` set, else ``FASTVEC_NUM_THREADS``, else the processors that
    this process may use (its affinity and its control group's share).

    Raises:
        ValueError: if ``FASTVEC_NUM_THREADS`` is not a whole number that ``set_num_threads`` takes.

    Example:
        >>> import fastvec
        >>> fastvec.get_num_threads() >= 1
        True
    """
    return threads.get_num_threads()


def set_num_threads(n: int) -> None:
    """Set the number of threads of all later calls in this process.

    Args:
        n: from 1 to 1,024, or to four times the computer's processors if that is more.

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
    from . import _arguments

    threads.set_num_threads(_arguments.whole_number(n, "n", 1, settings.MOST_THREADS))
