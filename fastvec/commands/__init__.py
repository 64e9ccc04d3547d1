"""The subcommands of ``fastvec``, one a module, each with a click command named ``command``.

Several commands share these modules:

    options.py   what they take: a file of words, a width, a file to write
    output.py    tables, JSON, and the line that says how far a command is
    failures.py  what ends a command: one line, and the exit status
    process.py   what a process owes its shell: an answer to Ctrl-C, word of lost output
    rows.py      a file whose rows are searched

``doctor`` runs the checks of ``diagnosis``, among them those of ``compiled_code`` (which ``warmup``
fills) and of ``exactness``; ``findings`` prints what they find. ``embed`` leads ``embed_job``:
``text_input`` reads its input (``decoding`` -> ``tables`` -> ``records``, with ``kept_columns``),
``places`` checks where it writes, ``embed_failures`` and ``embed_report`` say how it ended.
"""

from .._submodules import finder

__getattr__ = finder(__name__)
