"""Values that are computed when they are first needed, without a lock."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class stored(Generic[T]):
    """A property that is computed on first use and then stored.

    The standard library's has a lock until Python 3.12, one for all objects: a child process that is forked
    while another thread holds it would wait for ever. Here, threads that come at once may each compute the
    value, and all get the one that was stored first; so an address in it is that of memory that stays.
    """

    def __init__(self, work: Callable[[Any], T]) -> None:
        self._work = work
        self.__doc__ = work.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, holder: None, owner: type) -> "stored[T]": ...
    @overload
    def __get__(self, holder: object, owner: type) -> T: ...
    def __get__(self, holder: object | None, owner: type) -> "stored[T] | T":
        """Called only until the value is stored: the holder's attribute then takes precedence."""
        if holder is None:
            return self
        value: T = holder.__dict__.setdefault(self._name, self._work(holder))
        return value
