"""The subcommands of ``fastvec``, one a module, each with a click command named ``command``.

``quickstart`` lies outside. ``output`` prints, ``options`` holds what several commands take,
``process`` answers Ctrl-C and guards the standard streams.
"""

from .._submodules import finder

__getattr__ = finder(__name__)
