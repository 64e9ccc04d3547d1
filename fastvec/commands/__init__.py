"""The subcommands of ``fastvec``, one a module, each with a click command named ``command``.

``quickstart`` lies outside. ``output`` prints, ``options`` holds what several commands take.
"""
