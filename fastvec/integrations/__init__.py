"""Drop-ins: functions with the signatures, types and errors of other libraries, computed by fastvec.

There is a module for each library; the library itself need not be installed.
"""

from .._submodules import finder

__getattr__ = finder(__name__)
