"""The pages of the documentation that errors lead to, as notes below their messages.

The site's address is that of "Documentation" in the package's metadata (``[project.urls]`` in
pyproject.toml), and has no other home. A package without one adds no notes.
"""

from __future__ import annotations

import functools
from typing import TypeVar

Error = TypeVar("Error", bound=BaseException)

PAGES = {
    "changed": "howto/errors.html#vectors-changed-since-the-index-was-built",
    "device": "howto/devices.html",
    "memory": "howto/errors.html#there-is-no-memory-for-the-answers",
    "not finite": "howto/errors.html#nan-or-inf",
    "range": "howto/errors.html#too-large-or-too-small-for-float32",
    "shape": "howto/errors.html#one-vector-where-rows-are-needed",
}
"""Where each topic is explained."""


def linked(error: Error, topic: str) -> Error:
    """The error, with a note that names the page of its topic.

    Example:
        >>> linked(ValueError("row 3: NaN"), "not finite")
        ValueError('row 3: NaN')
    """
    address = site()
    if address is not None:
        error.add_note(f"See {address.rstrip('/')}/{PAGES[topic]}")
    return error


@functools.cache
def site() -> str | None:
    """The address of the documentation, or None."""
    import importlib.metadata

    try:
        urls = importlib.metadata.metadata("fastvec").get_all("Project-URL") or []
    except importlib.metadata.PackageNotFoundError:
        return None
    named = dict(url.split(", ", 1) for url in urls if ", " in url)
    return named.get("Documentation")
