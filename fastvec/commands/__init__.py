"""The subcommands of ``fastvec``, one a module, each with a click command named ``command``.

``quickstart`` and ``warmup`` lie outside. ``output`` prints and shows how far a command is, ``options``
holds what several commands take, ``process`` answers Ctrl-C and guards the standard streams. ``rows``
opens a file to be searched. ``embed`` leads ``embed_job``: its input is read by ``text_input``
(``decoding`` -> ``tables`` -> ``records``, with ``kept_columns``), ``places`` sees to where it writes,
``embed_failures`` and ``embed_report`` say how it ended.
"""

from .._submodules import finder

__getattr__ = finder(__name__)
