"""Drop-ins: functions of other libraries, with their signatures, types and errors, computed by fastvec.

One module for each library, which need not be installed.
"""

from .._submodules import finder

__getattr__ = finder(__name__)
