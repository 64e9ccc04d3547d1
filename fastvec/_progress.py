"""How far a long call is, in words: counts, rate and time left, as far as they are known."""

from __future__ import annotations


def status(done: float, total: float | None, elapsed: float, unit: str = "texts") -> str:
    """How many are done, how many that is a second, and how long the others take.

    Example:
        >>> status(500, 2000, 10.0)
        '500 of 2,000 texts, 50/s, 0:00:30 left'
    """
    rate = done / elapsed if elapsed > 0 else 0.0
    text = f"{done:,} of {total:,} {unit}" if total is not None else f"{done:,} {unit}"
    text = text.rstrip()
    if f"{rate:,.0f}" != "0":
        text += f", {rate:,.0f}/s"
    return text + left(done, total, elapsed)


def share(done: float, total: float, elapsed: float) -> str:
    """The same of parts that mean nothing to anybody.

    Example:
        >>> share(1.5, 4, 3.0)
        '37 %, 0:00:05 left'
    """
    return f"{int(100 * done / total)} %" + left(done, total, elapsed)


def left(done: float, total: float | None, elapsed: float) -> str:
    """The time that is left, if anything is and it is known."""
    if total is None or not 0 < done < total or elapsed <= 0:
        return ""
    return f", {duration((total - done) * elapsed / done)} left"


def duration(seconds: float) -> str:
    """Hours, minutes and seconds.

    Example:
        >>> duration(3725.2)
        '1:02:05'
    """
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
