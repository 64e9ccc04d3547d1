"""Check that the wheel and the sdist in a folder hold what they should, and nothing else.

python .ci/contents.py FOLDER CHECKOUT
"""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

DESCRIPTION = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "top_level.txt")
EGG_INFO = (
    *("PKG-INFO", "SOURCES.txt", "dependency_links.txt", "entry_points.txt", "requires.txt", "top_level.txt"),
)
BESIDE = (
    *(
        "CHANGELOG.md",
        "CITATION.cff",
        "CONTRIBUTING.md",
        "LICENSE",
        "MANIFEST.in",
        "README.md",
        "SECURITY.md",
    ),
    *("pyproject.toml", "setup.py"),
)


def in_wheel(tracked: list[str], version: str) -> set[str]:
    """The package with its kernels and types, and its description with the license: no tests, no `bench`."""
    modules = {
        path for path in tracked if path.startswith("fastvec/") and path.endswith((".py", "/py.typed"))
    }
    kernels = {f"fastvec/{path}" for path in tracked if path.startswith("kernels/") and path.endswith(".py")}
    return modules | kernels | {f"fastvec-{version}.dist-info/{name}" for name in DESCRIPTION}


def in_sdist(tracked: list[str], version: str) -> set[str]:
    """The same sources, and the tests; the link from one to the other is no file."""
    folders = ("fastvec/", "kernels/", "tests/")
    sources = {path for path in tracked if path.startswith(folders)} - {"fastvec/kernels"}
    made = {"PKG-INFO", "setup.cfg"} | {f"fastvec.egg-info/{name}" for name in EGG_INFO}
    return {f"fastvec-{version}/{path}" for path in sources | made | set(BESIDE)}


def check(name: str, actual: list[str], expected: set[str]) -> None:
    """Raise if an archive lacks a file, has another, or has one twice."""
    problems = [f"{name} lacks {path}" for path in sorted(expected - set(actual))]
    problems += [f"{name} has {path}" for path in sorted(set(actual) - expected)]
    problems += [f"{name} has {path} twice" for path in sorted(set(actual)) if actual.count(path) > 1]
    if problems:
        raise SystemExit("\n".join(problems))


def main(folder: Path, checkout: Path) -> None:
    """Check the only wheel and the only sdist of a folder against a checkout's tracked files."""
    listed = subprocess.run(["git", "ls-files"], cwd=checkout, capture_output=True, text=True, check=True)
    tracked = listed.stdout.splitlines()
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    version = sdist.name.removeprefix("fastvec-").removesuffix(".tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        check(wheel.name, archive.namelist(), in_wheel(tracked, version))
    with tarfile.open(sdist) as archive:
        members = archive.getmembers()
    if any(not (member.isfile() or member.isdir()) for member in members):
        raise SystemExit(f"{sdist.name} has a link or a special file")
    check(sdist.name, [str(PurePosixPath(m.name)) for m in members if m.isfile()], in_sdist(tracked, version))
    print(f"{wheel.name}, {sdist.name}: what they should hold, and nothing else")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
