"""Values that are computed once, when they are first needed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class once(Generic[T]):
    """A property that is computed on first use and then stored.

    One thread computes it while others wait. An exception is not stored, so that the next use tries again. A
    child process uses no lock that a thread of its parent may hold.
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
        """Called only until the value is stored: the holder's attribute then takes precedence."""
        if holder is None:
            return self
        attributes = holder.__dict__
        with attributes.setdefault("_making", {}).setdefault(os.getpid(), threading.RLock()):
            if self._name not in attributes:
                attributes[self._name] = self._work(holder)
            value: T = attributes[self._name]
            return value
