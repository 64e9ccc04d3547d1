"""Where setuptools finds the packages: in a checkout with links, in one without, for an editable install."""

import os
import runpy
import shutil
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

import fastvec

ROOT = Path(fastvec.__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(not (ROOT / "editable").exists(), reason="the tests are not in a checkout")


@pytest.fixture
def package_dir(monkeypatch, tmp_path):
    """What setup.py says for a command, run in some folder."""

    def ask(command, folder):
        said = {}
        monkeypatch.setitem(sys.modules, "setuptools", SimpleNamespace(setup=said.update))
        stub = SimpleNamespace(bdist_wheel=object)
        monkeypatch.setitem(sys.modules, "setuptools.command.bdist_wheel", stub)
        monkeypatch.setattr(sys, "argv", ["setup.py", command])
        monkeypatch.chdir(folder)
        runpy.run_path(str(ROOT / "setup.py"))
        assert os.environ["SOURCE_DATE_EPOCH"].isdecimal()
        return said["package_dir"]

    monkeypatch.setenv("SOURCE_DATE_EPOCH", "")
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    return ask


@pytest.fixture(scope="module")
def packages():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return settings["tool"]["setuptools"]["packages"]


@pytest.mark.parametrize("command", ["bdist_wheel", "sdist", "editable_wheel"])
def test_every_package_is_found(package_dir, packages, tmp_path, command):
    """By the longest of the names given, as setuptools does it; kernels never lie at the top."""
    for unlinked in (False, True):
        folder = ROOT
        if unlinked:  # a link that became a file, as on Windows
            folder = tmp_path
            ignored = shutil.ignore_patterns("__pycache__", "kernels")
            shutil.copytree(ROOT / "fastvec", tmp_path / "fastvec", ignore=ignored)
            shutil.copytree(ROOT / "kernels", tmp_path / "kernels", ignore=ignored)
            (tmp_path / "editable").mkdir()
            (tmp_path / "editable" / "fastvec").write_text("../fastvec")
        places = package_dir(command, folder)
        for package in packages:
            parts, place = package.split("."), None
            for size in range(len(parts), -1, -1):
                if (start := places.get(".".join(parts[:size]))) is not None:
                    place = folder.joinpath(start, *parts[size:])
                    break
            assert (place / "__init__.py").is_file()
        assert (places == {"": "editable"}) is (command == "editable_wheel" and not unlinked)


def test_the_packages_are_all_there_are(packages):
    found = {path.parent.relative_to(ROOT) for path in (ROOT / "fastvec").rglob("__init__.py")}
    below = (path.parent.relative_to(ROOT) for path in (ROOT / "kernels").rglob("__init__.py"))
    assert {".".join(path.parts) for path in found | {"fastvec" / path for path in below}} == set(packages)


def test_an_editable_install_offers_the_package_alone():
    """The folder that it names to Python: a top-level ``kernels`` would hide the package of that name."""
    assert {*os.listdir(ROOT / "editable")} - {"fastvec.egg-info"} == {"fastvec"}
    if (ROOT / "editable" / "fastvec").is_symlink():
        assert (ROOT / "editable" / "fastvec").resolve() == ROOT / "fastvec"
