"""``python -m fastvec``: the command line, as ``fastvec``."""

from .cli import main

if __name__ == "__main__":
    main()
