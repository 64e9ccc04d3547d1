"""Where setuptools finds the packages, which dependencies are the oldest, and what a forge runs."""

import os
import re
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
def settings():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def packages(settings):
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


def test_all_packages_are_listed(packages):
    actual = {path.parent.relative_to(ROOT) for path in (ROOT / "fastvec").rglob("__init__.py")}
    below = (path.parent.relative_to(ROOT) for path in (ROOT / "kernels").rglob("__init__.py"))
    assert {".".join(path.parts) for path in actual | {"fastvec" / path for path in below}} == set(packages)


def test_an_editable_install_offers_the_package_alone():
    """The folder that it names to Python: a top-level ``kernels`` would hide the package of that name."""
    assert {*os.listdir(ROOT / "editable")} - {"fastvec.egg-info"} == {"fastvec"}
    if (ROOT / "editable" / "fastvec").is_symlink():
        assert (ROOT / "editable" / "fastvec").resolve() == ROOT / "fastvec"


@pytest.fixture(scope="module")
def lowest():
    """The functions of .ci/lowest.py."""
    return runpy.run_path(str(ROOT / ".ci" / "lowest.py"))


def test_every_extra_has_lower_bounds(lowest, settings):
    project = settings["project"]
    extras = project["optional-dependencies"]
    alone = lowest["lowest"](project["dependencies"])
    assert set(alone) == {"numpy", "numba"}
    for extra in set(extras) - {"bench", "cuda", "hosts"}:  # peers without a bound; what comes in one version
        actual = lowest["lowest"](lowest["requirements"](project, [extra]))
        assert alone.items() <= actual.items()
    actual = lowest["lowest"](lowest["requirements"](project, ["test"]))
    assert {"click", "rich", "pyarrow", "openai", "matplotlib", "pytest"} <= set(actual)


def test_lower_bounds_are_the_highest_of_all_that_hold(lowest):
    bounds = ["click>=8.1", "rich>=13", "click>=8.10", "numba-cuda[cu13]>=0.30,<0.31", "click>=8.2"]
    assert lowest["lowest"](bounds) == {"click": "8.10", "rich": "13", "numba-cuda": "0.30"}
    with pytest.raises(ValueError, match=r"'numkong' has no lower bound; write it as NAME>=VERSION"):
        lowest["lowest"](["numkong"])


WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
PUBLISH = WORKFLOW.with_name("publish.yml")
every_workflow = pytest.mark.parametrize("workflow", [WORKFLOW, PUBLISH], ids=lambda path: path.stem)


def test_every_workflow_is_tested():
    assert {*WORKFLOW.parent.iterdir()} == {WORKFLOW, PUBLISH}


@every_workflow
def test_the_workflow_runs_nothing_but_scripts_of_this_checkout(workflow):
    """So that no command has a second copy; the scripts take README's commands from README."""
    text = workflow.read_text(encoding="utf-8")
    commands = re.findall(r"^ *(?:- )?run: (.*)$", text, re.MULTILINE)
    assert commands
    for command in commands:
        script, *arguments = command.removeprefix("PYTHON=python ").split()
        assert os.access(ROOT / script, os.X_OK), f"{script} is not a program"
        assert script.startswith(".ci/")
        if script == ".ci/readme":
            readme = (ROOT / "README.md").read_text(encoding="utf-8")
            (words,) = arguments
            ending = rf"^python3 .*{words}$"
            assert len(set(re.findall(ending, readme, re.MULTILINE))) == 1
    wanted = {".ci/run", ".ci/lowest", "pytest"} if workflow == WORKFLOW else {".ci/run", "dist", "site"}
    assert {command.split()[-1] for command in commands} >= wanted


def test_the_workflow_covers_what_the_package_promises(settings):
    text = WORKFLOW.read_text(encoding="utf-8")
    classifier = "Programming Language :: Python :: 3."
    promised = [line for line in settings["project"]["classifiers"] if line.startswith(classifier)]
    assert {f"3.{line.removeprefix(classifier)}" for line in promised} == set(re.findall(r'"(3\.\d+)"', text))
    for system in ("ubuntu-24.04", "ubuntu-24.04-arm", "macos-", "windows-"):
        assert system in text


@every_workflow
def test_the_workflow_trusts_no_moving_version_and_may_only_read(workflow):
    """Only jobs that publish may do more; these run nothing but two actions, on what another job made."""
    text = workflow.read_text(encoding="utf-8")
    used = re.findall(r"uses: (.*)", text)
    assert used
    trusted = (
        r"actions/[a-z-]+" if workflow == WORKFLOW else r"(?:actions/[a-z-]+|pypa/gh-action-pypi-publish)"
    )
    for action in used:
        assert re.fullmatch(rf"{trusted}@[0-9a-f]{{40}} # v[0-9.]+", action)
    permissions = re.findall(r"^( *)permissions:\n((?:\1  .*\n)+)", text, re.MULTILINE)
    assert permissions[0] == ("", "  contents: read\n")
    assert text.count("actions/checkout@") == text.count("persist-credentials: false")
    jobs = re.split(r"^  (?=[a-z]+:\n)", text.partition("\njobs:\n")[2], flags=re.MULTILINE)[1:]
    privileged = [job for job in jobs if "permissions:" in job]
    assert len(permissions) == 1 + len(privileged) == (1 if workflow == WORKFLOW else 3)
    for job in privileged:
        assert "if: github.ref_type == 'tag'" in job
        assert "environment:" in job
        assert "run: " not in job
        assert "checkout" not in job


def test_the_version_has_one_home(settings):
    """``fastvec/_version.py``: the metadata and the site read it, and other files agree with it."""
    assert settings["project"]["dynamic"] == ["version"]
    assert settings["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "fastvec._version.__version__"}
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (.*)$", citation, re.MULTILINE) == [fastvec.__version__]
    for name, key in (("license", "license"), ("title", "name")):
        assert re.findall(rf"^{name}: (.*)$", citation, re.MULTILINE) == [settings["project"][key]]
    assert re.findall(r'"\d+\.\d+\.\d+"', (ROOT / "docs" / "conf.py").read_text()) == []
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[(\d[^]]*)\] - \d{4}-\d\d-\d\d$", changes, re.MULTILINE)
    assert released[:1] in ([], [fastvec.__version__])
    assert len(re.findall(r"^## ", changes, re.MULTILINE)) == len(released) + ("## [Unreleased]" in changes)


def test_what_an_archive_must_hold_is_checked_exactly(tmp_path):
    """.ci/contents.py: one file too many or too few is an error that names it."""
    functions = runpy.run_path(str(ROOT / ".ci" / "contents.py"))
    modules = ["fastvec/__init__.py", "fastvec/py.typed", "kernels/micro/avx2.py"]
    tracked = [*modules, "fastvec/kernels", "tests/test_it.py", "bench/all.py"]
    wheel, sdist = (functions[name](tracked, "1.0") for name in ("in_wheel", "in_sdist"))
    assert {"fastvec/py.typed", "fastvec/kernels/micro/avx2.py"} < wheel
    assert "fastvec-1.0.dist-info/licenses/LICENSE" in wheel
    assert not [path for path in wheel if "test" in path or "bench" in path or path == "fastvec/kernels"]
    assert {"fastvec-1.0/tests/test_it.py", "fastvec-1.0/kernels/micro/avx2.py"} < sdist
    functions["check"]("wheel", sorted(wheel), wheel)
    for actual, said in (
        ([*wheel, "fastvec/bench.py"], "wheel has fastvec/bench.py"),
        ([path for path in wheel if path != "fastvec/py.typed"], "wheel lacks fastvec/py.typed"),
        ([*wheel, "fastvec/py.typed"], "wheel has fastvec/py.typed twice"),
    ):
        with pytest.raises(SystemExit, match=f"^{re.escape(said)}$"):
            functions["check"]("wheel", actual, wheel)
