"""Print the lower bounds of the dependencies, of fastvec alone or with extras, as constraints for pip.

python .ci/lowest.py test >lowest.txt && pip install -c lowest.txt '.[test]'
"""

import re
import sys
import tomllib
from pathlib import Path

_BOUNDED = re.compile(r"([A-Za-z0-9._-]+)(?:\[[\w,]+\])?>=([0-9.]+)(?:,<[0-9.]+)?")
_OWN = re.compile(r"fastvec\[([\w,-]+)\]")


def requirements(project: dict, extras: list[str]) -> list[str]:
    """What an installation with these extras asks for, the extras that they name included."""
    found = list(project["dependencies"])
    for extra in extras:
        for requirement in project["optional-dependencies"][extra]:
            named = _OWN.fullmatch(requirement)
            found += requirements(project, named[1].split(",")) if named else [requirement]
    return found


def lowest(requirements: list[str]) -> dict[str, str]:
    """The lowest version of each that satisfies all bounds; a requirement without one is an error."""
    versions: dict[str, str] = {}
    for requirement in requirements:
        bounded = _BOUNDED.fullmatch(requirement)
        if bounded is None:
            raise ValueError(f"{requirement!r} has no lower bound; write it as NAME>=VERSION")
        name, version = bounded.groups()
        versions[name] = max(versions.get(name, "0"), version, key=_numbers)
    return versions


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


if __name__ == "__main__":
    settings = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text(encoding="utf-8"))
    for name, version in lowest(requirements(settings["project"], sys.argv[1:])).items():
        print(f"{name}=={version}")
