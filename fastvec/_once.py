"""Values that are made when they are first needed, once."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class once(Generic[T]):
    """A property that is worked out when it is first asked for, and then kept.

    One thread works it out while others wait; what it raises is not kept, so that the next one tries
    again. A child process takes no lock that a thread of its parent may have held.
    """

    def __init__(self, work: Callable[[Any], T]) -> None:
        self._work = work
        self.__doc__ = work.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, holder: None, owner: type) -> once[T]: ...
    @overload
    def __get__(self, holder: object, owner: type) -> T: ...
    def __get__(self, holder: object | None, owner: type) -> once[T] | T:
        """Called until the value is there, as the holder's own attribute goes before this one."""
        if holder is None:
            return self
        kept = holder.__dict__
        with kept.setdefault("_making", {}).setdefault(os.getpid(), threading.RLock()):
            if self._name not in kept:
                kept[self._name] = self._work(holder)
            value: T = kept[self._name]
            return value
