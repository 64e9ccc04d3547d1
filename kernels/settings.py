"""The environment variables fastvec reads, each in one place."""

import os

MOST_THREADS = max(1024, 4 * (os.cpu_count() or 1))
"""The most threads that a call may be told to use: a larger number is a mistake."""


def micro_kernel() -> str | None:
    """``FASTVEC_MICRO_KERNEL``: the name of the micro-kernel to use, or None for the best one."""
    return os.environ.get("FASTVEC_MICRO_KERNEL") or None


def num_threads() -> int | None:
    """``FASTVEC_NUM_THREADS``: how many threads a call uses, or None for all processors."""
    text = os.environ.get("FASTVEC_NUM_THREADS")
    if not text:
        return None
    digits = text.strip()
    if not digits.isdecimal() or len(digits) > 9 or not 1 <= int(digits) <= MOST_THREADS:
        raise ValueError(
            f"FASTVEC_NUM_THREADS is {text!r:.80}; it must be a whole number of at least 1 and at most "
            f"{MOST_THREADS:,}"
        )
    return int(digits)
