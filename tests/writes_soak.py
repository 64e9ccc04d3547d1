"""Faults at every step of every kind of write: what is left is the old or the new, whole, and no obstacle.

``python tests/writes_soak.py`` tries all of them, which takes some minutes, and counts them;
``python tests/writes_soak.py POWER --seeds 5`` only those whose names hold the word.
"""

import argparse
import contextlib
import errno
import functools
import gc
import hashlib
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from instants import count, interrupted_at
from power_cut import STEPS, Disk
from writes import CASES, names_in

from fastvec import _building
from fastvec.files import atomic


class Write(NamedTuple):
    """A write, and what a folder holds before and after it."""

    place: Path
    act: object
    look: object
    before: object
    after: object
    start: Path
    """A copy of the folder as it was before."""
    names: list

    @classmethod
    def of(cls, name, folder):
        place, start = folder / "place", folder / "start"
        place.mkdir()
        act, look = CASES[name](place)
        before = look()
        shutil.copytree(place, start)
        act()
        after = look()
        assert before != after
        return cls(place, act, look, before, after, start, names_in(place))

    def again(self):
        """Put the folder back to its start."""
        shutil.rmtree(self.place)
        shutil.copytree(self.start, self.place)

    def problem(self, *, done=False, leftovers=False):
        """What is wrong with what is left, and with repeating the write; nothing if all is well.

        ``done``: the write had ended. ``leftovers``: files may be left that nothing names any more.
        """
        try:
            left = self.look()
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        if left != self.after and (done or left != self.before):
            return "lost" if left == self.before else "neither the old nor the new"
        try:
            self.act()
            left = self.look()
        except Exception as error:
            return f"again: {type(error).__name__}: {error}"
        if left != self.after:
            return "again: not the new"
        names = {*names_in(self.place)}
        more = sorted({*self.names} - names if leftovers else names ^ {*self.names})
        return f"left over or missing: {more}" if more else ""


def power_cuts(write, chance):
    """Cut the power at every moment; the marks by which leftovers are known may be lost, too."""
    write.again()
    disk = Disk(write.place)
    with disk.watching():
        write.act()

    def cut_off(cut, done):
        shutil.rmtree(write.place)
        cut.into(write.place)
        return write.problem(done=done, leftovers=True)

    for what, cut, done in [("the end", disk.end(), True), *((*one, False) for one in disk.cuts(chance))]:
        yield what, functools.partial(cut_off, cut, done)


@contextlib.contextmanager
def failing(at, number):
    """Let the step after ``at`` others fail; whether it came is the first entry of what is yielded."""
    left, before = [at], {name: getattr(os, name) for name in STEPS}

    def counted(name, real):
        def step(*arguments, **options):
            left[0] -= 1
            if left[0] == -1:
                if name == "fsync":  # which knows no name, and asks for no permission
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
                raise OSError(number, os.strerror(number), os.fspath(arguments[0]))
            return real(*arguments, **options)

        return step

    for name, real in before.items():
        setattr(os, name, counted(name, real))
    try:
        yield left
    finally:
        for name, real in before.items():
            setattr(os, name, real)


def failing_steps(write, _chance):
    """Let each step that forces bytes or changes a name fail, for several reasons."""

    def fail(at, number):
        write.again()
        with failing(at, number):
            problem = _raised(write)
        return problem or write.problem()

    write.again()
    with failing(sys.maxsize, errno.EIO) as left:
        write.act()
    for number in (errno.ENOSPC, errno.EIO, errno.EACCES):
        for at in range(sys.maxsize - left[0]):
            yield f"step {at}, {errno.errorcode[number]}", functools.partial(fail, at, number)


def full_disks(write, _chance):
    """Let files grow to so many bytes and no further."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(size):
        write.again()
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        try:
            problem = _raised(write)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        return problem or write.problem()

    sizes = [path.stat().st_size for path in write.place.rglob("*") if path.is_file()]
    for size in sorted({*range(0, max(sizes) + 100, 97), *sizes, *(size - 1 for size in sizes if size)}):
        yield f"{size} bytes", functools.partial(fill, size)


def _raised(write):
    """What is wrong with how a write that may fail ends."""
    try:
        write.act()
    except OSError as error:
        named = error.filename is not None and str(write.place) in os.fsdecode(error.filename)
        return "" if named and ".fastvec-" not in str(error) else f"names no file of the user's: {error!r}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def instants(write, _chance):
    """Interrupt wherever a handler of a signal can run."""

    def interrupt(at):
        write.again()
        interrupted_at(at, write.act)
        gc.collect()  # a traceback may hold the lock of a stage
        return write.problem()

    write.again()
    for at in range(count(write.act)):
        yield f"instant {at}", functools.partial(interrupt, at)


FAULTS = {
    fault.__name__.replace("_", " "): fault for fault in (power_cuts, failing_steps, full_disks, instants)
}


def attacked(name, fault, folder, share=1.0, seed=0, least=0):
    """How many faults were tried, and what was wrong after some.

    They are a ``share`` of all, but at ``least`` so many; and the first, which for a power cut is the end.
    """
    chance = random.Random(f"{name} {fault} {seed}")
    forced, os.fsync = os.fsync, lambda _descriptor: None  # the power of this disk is not cut
    owner, atomic._owner = atomic._owner, _digest  # files are made anew, with other numbers and times
    try:
        write = Write.of(name, folder)
        every = [*FAULTS[fault](write, chance)]
        some = chance.sample(every[1:], min(len(every) - 1, max(least, round(share * len(every)))))
        tried = [(what, attempt()) for what, attempt in (every[0], *some)]
    finally:
        os.fsync, atomic._owner = forced, owner
    return len(tried), [f"{what}: {problem}" for what, problem in tried if problem]


def _digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def small_parts(patch=setattr):
    """Builds of so few rows have several parts."""
    for name in ("PART_BYTES", "BLOCK_BYTES"):
        patch(_building, name, 4 * 5 * 15)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("words", nargs="*", help="parts of the names of faults and writes")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--share", type=float, default=1.0)
    arguments = parser.parse_args()
    small_parts()
    totals = dict.fromkeys(FAULTS, 0)
    bad, began = 0, time.monotonic()
    for fault in FAULTS:
        for name in CASES:
            if not all(word.lower() in f"{fault}: {name}" for word in arguments.words):
                continue
            for seed in range(arguments.seeds):
                with tempfile.TemporaryDirectory() as folder:
                    tried, problems = attacked(name, fault, Path(folder), arguments.share, seed)
                totals[fault], bad = totals[fault] + tried, bad + len(problems)
                print(f"{fault}: {name}: {tried:,}, {len(problems)} wrong", flush=True)
                print(*(f"    {problem}\n" for problem in problems[:8]), sep="", end="", flush=True)
    counts = ", ".join(f"{total:,} {fault}" for fault, total in totals.items() if total)
    print(f"{counts}; {bad} wrong; {time.monotonic() - began:.0f} s")
    return min(1, bad)


if __name__ == "__main__":
    sys.exit(main())
