"""What a power cut leaves of a folder, at every moment of a call that changes it.

``Disk`` watches a call: what names and bytes there are before and after each step that forces something to
the disk or changes a name, and what of it was forced. ``Disk.cuts`` then lists what may be left:

- bytes of a file that were not forced may be there, gone, cut short, or zeros;
- a name that was made, moved or removed since its folder was forced may be as before or as after, each
  independently of the others; only a move is one step, which may happen or not.
"""

import os
import random
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

STEPS = ("fsync", "replace", "rename", "mkdir", "rmdir", "unlink", "remove", "link")


class Change(NamedTuple):
    """A step that made, moved or removed names."""

    entries: tuple[tuple[int, str, int | None], ...]
    """Folder, name, and what is there now; None: nothing."""


class Moment(NamedTuple):
    """The disk at one moment of a call."""

    forced: dict[int, dict[str, int]]
    """The names in each folder that were forced to the disk, and what is there."""
    pending: tuple[Change, ...]
    """Changes of names that were not."""
    now: dict[int, bytes | None]
    """The bytes of each file as the process sees them; None for a folder."""
    safe: dict[int, bytes]
    """Those that were forced."""


class Disk:
    """The tree below a folder, as ``watching`` saw it."""

    def __init__(self, root: Path) -> None:
        self.root, self.moments = root, []
        self._ids, self._made = {}, 0
        self._forced, self._pending, self._now, self._safe, self._seen = {}, [], {}, {}, {}
        self._look()
        self._forced = {folder: dict(names) for folder, names in self._seen.items()}
        self._safe = {one: data for one, data in self._now.items() if data is not None}
        self._pending = []

    @contextmanager
    def watching(self):
        """Watch what is done in the block."""
        before = {name: getattr(os, name) for name in STEPS}
        for name, real in before.items():
            setattr(os, name, self._watched(name, real))
        try:
            yield self
        finally:
            for name, real in before.items():
                setattr(os, name, real)
            self._look()
            self._note()

    def _watched(self, name: str, real: Any) -> Any:
        def step(*arguments: Any, **options: Any) -> Any:
            self._look()
            self._note()
            if name == "fsync":
                status = os.fstat(arguments[0])
                self._force((status.st_dev, status.st_ino))
                return None  # nobody cuts the power of this disk
            done = real(*arguments, **options)
            self._look()
            return done

        return step

    def _note(self) -> None:
        self.moments.append(
            Moment(
                {folder: dict(names) for folder, names in self._forced.items()},
                tuple(self._pending),
                dict(self._now),
                dict(self._safe),
            )
        )

    def _force(self, inode: tuple[int, int]) -> None:
        one = self._ids.get(inode)
        if one is None:  # outside of the root
            return
        if self._now[one] is not None:
            self._safe[one] = self._now[one]
            return
        held = [change for change in self._pending if any(folder == one for folder, *_ in change.entries)]
        for change in held:
            _apply(self._forced, change)
            self._pending.remove(change)

    def _look(self) -> None:
        """Find what has changed since the last look; all of it is one step."""
        seen, inodes = {}, {}

        def walk(place: str) -> int:
            status = os.lstat(place)
            inode = status.st_dev, status.st_ino
            if inode not in self._ids:
                self._made += 1
                self._ids[inode] = self._made
            one = inodes[inode] = self._ids[inode]
            if os.path.isdir(place) and not os.path.islink(place):
                names = {entry: walk(f"{place}/{entry}") for entry in sorted(os.listdir(place))}
                self._now[one], seen[one] = None, names
            else:
                with open(place, "rb") as file:
                    data = file.read()
                if self._now.get(one) != data:
                    self._now[one] = data
            return one

        self.top = walk(str(self.root))
        entries = [
            (folder, name, seen.get(folder, {}).get(name))
            for folder in {**self._seen, **seen}
            for name in {**self._seen.get(folder, {}), **seen.get(folder, {})}
            if seen.get(folder, {}).get(name) != self._seen.get(folder, {}).get(name)
        ]
        moved = {now for *_, now in entries if now is not None} & {
            one for names in self._seen.values() for one in names.values()
        }
        if moved:
            self._pending.append(Change(tuple(entries)))
        else:  # such as two files that were made between two steps
            self._pending += [Change((entry,)) for entry in entries]
        self._seen, self._ids = seen, inodes  # the number of a file that is gone may be given again

    def cuts(self, chance: random.Random, tries: int = 4):
        """Functions that make what is left, each in an empty folder; with a name."""
        for at, moment in enumerate(self.moments):
            every = range(len(moment.pending))
            choices = [("nothing unforced", [], "lost"), ("names without bytes", every, "lost")]
            choices += [("all", every, "kept"), ("bytes without names", [], "kept")]
            for _ in range(tries):
                some = [change for change in every if chance.random() < 0.5]
                choices.append(("some", some, chance.choice(["lost", "kept", "torn", "zeros"])))
            for name, chosen, fate in choices:
                yield (
                    f"{at}: {name} {list(chosen)}, {fate}",
                    _Cut(self.top, moment, list(chosen), fate, chance),
                )

    def end(self):
        """What is left of the whole call if nothing survives that was not forced."""
        return _Cut(self.top, self.moments[-1], [], "lost", random.Random(0))


class _Cut:
    def __init__(self, top, moment, chosen, fate, chance):
        self.top, self.moment, self.chosen, self.fate, self.chance = top, moment, chosen, fate, chance

    def into(self, place: Path) -> None:
        """Make what is left, at a path where nothing is."""
        tree = {folder: dict(names) for folder, names in self.moment.forced.items()}
        for number in self.chosen:
            _apply(tree, self.moment.pending[number])
        self._make(place, self.top, tree, ())

    def _make(self, place: Path, one: int, tree: Any, above: tuple[int, ...]) -> None:
        if self.moment.now.get(one) is None:
            place.mkdir()
            for name, inside in tree.get(one, {}).items():
                if inside not in above:
                    self._make(place / name, inside, tree, (*above, one))
        else:
            place.write_bytes(self._bytes(one))

    def _bytes(self, one: int) -> bytes:
        now, safe = self.moment.now[one], self.moment.safe.get(one, b"")
        assert now is not None
        if self.fate == "kept" or now == safe:
            return now
        if self.fate == "lost":
            return safe
        if self.fate == "zeros":
            return safe[: len(now)] + bytes(max(0, len(now) - len(safe)))
        return now[: self.chance.randrange(len(now) + 1)]


def _apply(tree: dict[int, dict[str, int]], change: Change) -> None:
    for folder, name, now in change.entries:
        names = tree.setdefault(folder, {})
        if now is None:
            names.pop(name, None)
        else:
            names[name] = now
