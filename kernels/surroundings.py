"""Switches around fastvec: those under which no kernel can be compiled, and those that shape compiled code.

They are Numba's, set by NUMBA_* variables or a file .numba_config.yaml in the working folder. With its
other switches, kernels compile and give the same bits.
"""

import os
from typing import Any, NamedTuple, NoReturn

SHAPING = (
    "BOUNDSCHECK",
    "DEBUGINFO_DEFAULT",
    "EXTEND_VARIABLE_LIFETIMES",
    "LLVM_REFPRUNE_FLAGS",
    "LLVM_REFPRUNE_PASS",
    "LOOP_VECTORIZE",
    "OPT",
    "SLP_VECTORIZE",
)
"""Settings that change compiled code, but not the key by which Numba's cache finds it."""


class Obstacle(NamedTuple):
    """A switch that is set so that nothing can be computed."""

    name: str
    """The environment variable; .numba_config.yaml has the name in lower case, without NUMBA_."""
    problem: str
    remedy: str


def obstacles() -> list[Obstacle]:
    """All switches that are set so in this process."""
    import llvmlite.binding

    config, blocking = _config(), []
    if config.DISABLE_JIT:
        problem = "is set, and kernels exist in compiled form only"
        blocking.append(_obstacle("DISABLE_JIT", problem, "set it to 0"))
    if config.CPU_FEATURES is not None:
        features = llvmlite.binding.get_host_cpu_features()
        asked = [name[1:] for name in config.CPU_FEATURES.split(",") if name.startswith("+")]
        if lacking := [name for name in asked if not features.get(name)]:
            problem = f"asks for {', '.join(lacking)}, which this processor does not have"
            blocking.append(_obstacle("CPU_FEATURES", problem, "leave out what it does not have"))
    return blocking


def _config() -> Any:
    from numba.core import config

    return config  # its variables are made when it is loaded


def _obstacle(name: str, problem: str, instead: str) -> Obstacle:
    remedy = f"Unset it, or {instead}, in the environment or in .numba_config.yaml"
    return Obstacle(f"NUMBA_{name}", problem, remedy)


def check_loading() -> None:
    """Raise RuntimeError for the switch with which Numba does not even load, before it is loaded."""
    text = os.environ.get("NUMBA_NUM_THREADS", "").strip()
    # Numba warns of a value that is not a number, and ignores it.
    if text.removeprefix("-").isdecimal() and int(text) < 1:
        _refuse(_obstacle("NUM_THREADS", f"is {text}, with which Numba does not load", "set it to 1 or more"))


def check() -> None:
    """Raise RuntimeError that names the first obstacle, if there is one."""
    for obstacle in obstacles():
        _refuse(obstacle)


def _refuse(obstacle: Obstacle) -> NoReturn:
    raise RuntimeError(f"{obstacle.name} {obstacle.problem}. {obstacle.remedy}.")


def shape() -> str:
    """The settings of ``SHAPING`` as a text, which differs where compiled code may differ."""
    config = _config()
    return " ".join(f"{name}={getattr(config, name, None)!r}" for name in SHAPING)
