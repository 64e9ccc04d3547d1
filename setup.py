"""Where setuptools finds the packages, and what makes wheels of one state equal. The rest: pyproject.toml."""

import os
import pathlib
import sys

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel

# The kernels lie beside the package and are installed in it.
PACKAGES = {"fastvec": "fastvec", "fastvec.kernels": "kernels"} | {
    f"fastvec.kernels.{part}": f"kernels/{part}" for part in ("cuda", "dense", "micro")
}
# For an editable install, one folder with nothing in it but a link to the package: setuptools then names
# that folder to Python, and type checkers read it as well; a mapping it would serve by a hook that only
# Python runs. A checkout that cannot hold links gets the mapping.
LINKED = pathlib.Path("editable/fastvec/kernels/__init__.py").is_file()

# When files were checked out, and under which umask, is not part of what a wheel holds.
os.environ.setdefault("SOURCE_DATE_EPOCH", "315532800")  # 1980, where zip files begin


class Wheel(bdist_wheel):
    """A wheel whose files all have the same permissions."""

    def write_wheelfile(self, *arguments: str) -> None:
        """Called when all other files are there."""
        super().write_wheelfile(*arguments)
        for path in pathlib.Path(self.bdist_dir).rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)


setup(
    package_dir={"": "editable"} if LINKED and "editable_wheel" in sys.argv else PACKAGES,
    cmdclass={"bdist_wheel": Wheel},
)
