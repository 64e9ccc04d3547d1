"""Raise at one instant of a call: what a handler of a signal does, without a signal and without luck.

Python runs handlers of signals where a function begins or goes on, after a call, and where a loop jumps back;
so these are the instants. (In a ``with`` statement there is none between the end of the block and the call of
``__exit__``, so the lock of a ``with`` is always released.)
"""

import dis
import functools
import sys


class Interrupted(BaseException):
    """Raised at the instant."""


_OTHERS = ("numba", "llvmlite", "numpy", "pyarrow", "weakref", "/logging/", "\\logging\\", "<frozen")
"""Whose code nobody interrupts here: it has no state of ours, or loses exceptions or, as logging, locks."""


@functools.cache
def _instants(code):
    """Offsets of the instructions before which a handler may have run; its exception is caught alike."""
    table = dis._parse_exception_table(code)

    def caught_by(offset):
        return next((entry.target for entry in table if entry.start <= offset < entry.end), None)

    found, before = set(), None
    for instruction in dis.get_instructions(code):
        if before is not None:
            after = before.opname.startswith("CALL") or before.opname == "RESUME"
            if instruction.opname == "JUMP_BACKWARD" or (
                after and caught_by(instruction.offset) == caught_by(before.offset)
            ):
                found.add(instruction.offset)
        before = instruction
    return frozenset(found)


def interrupted_at(instant, call):
    """Whether ``call`` was interrupted, at the instant after so many others; else it has ended before."""
    return _passed(instant, call) == instant


def count(call):
    """The number of instants at which a call can be interrupted."""
    return _passed(sys.maxsize, call)


def _passed(most, call):
    """How many instants of a call passed; at most so many, because then it is interrupted."""
    passed = 0

    def trace(frame, event, argument):
        nonlocal passed
        if any(name in frame.f_code.co_filename for name in _OTHERS):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        if event == "opcode" and frame.f_lasti in _instants(frame.f_code):
            if passed == most:
                sys.settrace(None)
                raise Interrupted
            passed += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except Interrupted:
        return most
    finally:
        sys.settrace(before)
    return passed
