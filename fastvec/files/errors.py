"""``fastvec.errors.FileError``, under the name that modules here import and that pickles hold."""

from ..errors import FileError, _again

__all__ = ["FileError", "_again"]
