"""The environment variables fastvec reads, each in one place."""

import os


def micro_kernel() -> str | None:
    """``FASTVEC_MICRO_KERNEL``: the name of the micro-kernel to use, or None for the best one."""
    return os.environ.get("FASTVEC_MICRO_KERNEL") or None


def num_threads() -> int | None:
    """``FASTVEC_NUM_THREADS``: threads a call uses, or None for all processors there are."""
    text = os.environ.get("FASTVEC_NUM_THREADS")
    if not text:
        return None
    digits = text.strip()
    if not digits.isdecimal() or len(digits) > _MOST_DIGITS or int(digits) < 1:
        raise ValueError(
            f"FASTVEC_NUM_THREADS is {_short(text)}; it must be a whole number of at least 1, "
            f"of at most {_MOST_DIGITS} digits"
        )
    return int(digits)


_MOST_DIGITS = 9


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:40] + "…")
