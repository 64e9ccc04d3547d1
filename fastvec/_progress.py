"""The progress of a long call in words: counts, rate and remaining time, as far as they are known."""

from __future__ import annotations


def status(done: float, total: float | None, elapsed: float, unit: str = "texts") -> str:
    """The number done, the number per second, and the time that the others will take.

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
    """The share done and the remaining time, for units that mean nothing to users.

    Example:
        >>> share(1.5, 4, 3.0)
        '37 %, 0:00:05 left'
    """
    return f"{int(100 * done / total)} %" + left(done, total, elapsed)


def left(done: float, total: float | None, elapsed: float) -> str:
    """The remaining time in words; empty if it is not known or nothing is left."""
    if total is None or not 0 < done < total or elapsed <= 0:
        return ""
    return f", {duration((total - done) * elapsed / done)} left"


def duration(seconds: float) -> str:
    """Seconds as hours, minutes and seconds.

    Example:
        >>> duration(3725.2)
        '1:02:05'
    """
    rounded = round(seconds)
    return f"{rounded // 3600}:{rounded // 60 % 60:02}:{rounded % 60:02}"
