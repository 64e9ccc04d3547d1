"""The processor's kernels as plain Python: what is compiled elsewhere is interpreted here, on small data.

Import this before any kernel, in a process of its own. The source of every kernel runs as it stands; only
functions that are written as LLVM instructions have a twin in NumPy (``operation_twins.py``). Nothing is
compiled, so a change of a kernel shows at once, and the sizes at which a search takes another way (a chunk, a
full log, a segment) may be made so small that a search of a hundred rows takes all of them: see ``small``.

Two things differ from compiled code: a scalar of float32 times a Python float stays one of float32, and the
micro-kernels are one product of matrices. ``test_bound.py`` and ``test_micro_kernels.py`` test those.
"""

import contextlib
import math
import pkgutil
import sys
import warnings
from importlib import import_module
from types import SimpleNamespace
from unittest import mock

import numpy as np
import operation_twins as twins

import fastvec
from fastvec.kernels import emit


def _defined(emitter, *_):
    def absent(*_):
        raise NotImplementedError(f"{emitter.__name__} has no twin in {__name__}")

    twin = twins.OPERATIONS.get(emitter.__name__, absent)
    twin.emit = emitter
    return twin


def _named(stub, table, field):
    def call(name, *arguments):
        return getattr(table[name], field)(name, *arguments)

    setattr(sys.modules[stub.__module__], stub.__name__, call)


def _itself(function):
    return function


_written = {}


def _install():
    emit._defined = _defined
    emit.function_of = lambda *_: _written.__getitem__
    from fastvec.kernels import simd

    for name, twin in twins.SIMD.items():
        assert hasattr(simd, name), name
        setattr(simd, name, twin)
    from fastvec.kernels import compile as compiler

    compiler.kernel = compiler.inline = _itself
    compiler.named, compiler.on_vectors = _named, lambda _: _itself
    compiler.default_mode = contextlib.nullcontext
    from fastvec.kernels import lanes, native

    lanes.row_sums = twins.row_sums
    write = native.Layout.of

    def of(layout, record):
        written = write(layout, record)
        _written[written.at] = record
        return written

    native.Layout.of = of
    from fastvec.kernels import metrics, micro, scorers, sort_keys

    metrics.math = SimpleNamespace(**{**vars(math), "sqrt": np.sqrt})  # of a negative number, NaN

    micro.tile, micro.begin, micro.end = twins.micro_tile, twins.nothing, twins.nothing
    scorers.call_row, scorers.scorer = twins.micro_row, twins.nothing
    sort_keys.keys_above, sort_keys.keys_reaching = twins.keys_above, twins.keys_reaching
    for module in pkgutil.iter_modules(fastvec.kernels.__path__, "fastvec.kernels."):
        if not module.ispkg:
            import_module(module.name)


_install()
warnings.simplefilter("ignore", RuntimeWarning)  # compiled code says nothing of an overflow


@contextlib.contextmanager
def small(**sizes):
    """Give constants of kernels, named ``module__NAME``, other values in every module that has them."""
    with contextlib.ExitStack() as stack:
        for name, value in sizes.items():
            home, constant = name.split("__")
            original = getattr(import_module(f"fastvec.kernels.{home}"), constant)
            for module in [found for name, found in sys.modules.items() if name.startswith("fastvec.")]:
                own = module.__name__ == f"fastvec.kernels.{home}"
                if own or module.__dict__.get(constant) is original:
                    stack.enter_context(mock.patch.object(module, constant, value))
        yield
