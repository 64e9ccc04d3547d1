"""``fastvec.errors.FileError``, under the name that the modules here and pickles know it by."""

from ..errors import FileError, _again

__all__ = ["FileError", "_again"]
