"""Try damaged files, hostile arguments and lying servers, many of them, and say which case found a fault.

    python tests/fuzz.py --list
    python tests/fuzz.py TARGET … --cases 100000 --seconds 60 --seed 0
    python tests/fuzz.py TARGET --seed 12345 --cases 1           a case again
    python tests/fuzz.py TARGET --guided --seconds 60            coverage chooses (pip install atheris)

Cases run in another process, so that one that crashes it, or does not end, is found too: it is killed, its
seed is printed and noted in ``fastvec-fuzz.jsonl`` of the temporary folder, and the next process goes on
behind it. The exit status is 1 if there was a fault. ``test_fuzz.py`` runs some cases of every target.
"""

import argparse
import faulthandler
import importlib
import itertools
import json
import logging
import os
import pkgutil
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import numpy as np
from fuzz_tools import FromBytes

MODULES = ("fuzz_files", "fuzz_folders", "fuzz_servers", "fuzz_arguments", "fuzz_commands")
NOTES = Path(tempfile.gettempdir()) / "fastvec-fuzz.jsonl"
MEMORY_BYTES = 4 << 30
"""Of addresses, so that a size that is not checked is a MemoryError and not the end of the machine."""
WORKER = [sys.executable, os.path.abspath(__file__)]
_MOST_FAULTS = 10
_PREPARING_S = 900
"""For kernels to be compiled, before the first case."""


def targets(modules=MODULES):
    """All targets of some modules, by name."""
    found = {}
    for module in modules:
        found.update(importlib.import_module(module).TARGETS)
    return found


def main():
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--list", action="store_true", help="print the names of all targets")
    parser.add_argument("--cases", type=int, default=1 << 60, help="the most cases of a target")
    parser.add_argument("--seconds", type=float, default=20, help="the most seconds for a target")
    parser.add_argument("--seed", type=int, default=0, help="of the first case; the next has the next number")
    parser.add_argument("--patience", type=float, default=90, help="seconds after which a case has hung")
    parser.add_argument("--guided", action="store_true", help="let atheris choose bytes by coverage")
    parser.add_argument("--input", type=Path, help="a file of bytes that --guided has found")
    parser.add_argument("--modules", type=lambda names: names.split(","), default=MODULES, help="of targets")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(arguments)
        return
    if arguments.input:
        again(arguments)
        return
    if arguments.list or not arguments.targets:
        print("\n".join(targets(arguments.modules)))
        return
    faults = sum(run(name, arguments) for name in arguments.targets)
    sys.exit(1 if faults else 0)


def run(name, arguments):
    """Run a target in other processes; return the number of faults."""
    seed, left, faults, done, begin = arguments.seed, arguments.cases, 0, 0, time.monotonic()
    while left > 0 and faults < _MOST_FAULTS:
        seconds = arguments.seconds - (time.monotonic() - begin)
        if seconds <= 0:
            break
        with tempfile.TemporaryDirectory() as folder:
            count, found, ended = _watched(name, seed, left, seconds, Path(folder), arguments)
        seed, left, done, faults = seed + count, left - count, done + count, faults + len(found)
        for fault in found:
            with open(NOTES, "a") as file:
                file.write(json.dumps(fault) + "\n")
            print(f"{name}: case {fault['seed']} is a fault:\n{fault['said']}", flush=True)
            file = re.search(r"Test unit written to (\S+)", fault["said"])
            how = f"--input {file[1]}" if file else f"--seed {fault['seed']} --cases 1"
            print(f"again: python tests/fuzz.py {name} {how}", flush=True)
        if ended:
            break
    spent = time.monotonic() - begin
    print(f"{name}: {done} cases, {spent:.0f} s, {faults} faults", flush=True)
    return faults


def _watched(name, seed, cases, seconds, folder, arguments):
    """Run cases in one process; return how many were begun, the faults, and whether it ended as it should."""
    place = folder / "place"
    begun = f"{seed} 0"
    place.write_text(begun)
    command = [*WORKER, name, "--worker", str(folder), "--seed", str(seed)]
    command += ["--cases", str(cases), "--seconds", str(seconds)] + ["--guided"] * arguments.guided
    with open(folder / "said", "w+b") as said:
        worker = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, start_new_session=True)
        last, since, hung = "", time.monotonic(), False
        try:
            while worker.poll() is None:
                time.sleep(0.05)
                now = place.read_text()
                if now != last:
                    last, since = now, time.monotonic()
                patience = _PREPARING_S if arguments.guided or last == begun else arguments.patience
                if time.monotonic() - since > patience:
                    hung = True
                    worker.send_signal(signal.SIGABRT)  # faulthandler says where it is
                    time.sleep(0.5)
                    break
        finally:
            if worker.poll() is None:
                os.killpg(worker.pid, signal.SIGKILL)
            worker.wait()
        said.seek(0)
        words = said.read().decode("utf-8", "replace")
    count = int(place.read_text().split()[0]) - seed
    noted = (folder / "faults").read_text().splitlines() if (folder / "faults").exists() else []
    found = [{"target": name, **json.loads(line)} for line in noted]
    ended = not hung and worker.returncode == 0
    if not ended:
        what = f"did not end within {arguments.patience:g} s" if hung else f"status {worker.returncode}"
        found.append({"target": name, "seed": seed + count - 1, "said": f"{what}\n{words[-4000:]}"})
    return count, found, ended


def work(arguments):
    """Run the cases of a target in this process; note every fault, but one at each place."""
    faulthandler.enable()
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    logging.disable()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.fsync = lambda _descriptor: None
    folder = Path(arguments.worker)
    if arguments.guided:
        _guided(arguments, folder)
    target = targets(arguments.modules)[arguments.targets[0]]
    (folder / "input").mkdir()
    prepared = target.prepare(folder / "input")
    end, places = time.monotonic() + arguments.seconds, set()
    with open(folder / "place", "r+b", buffering=0) as place:
        for seed in range(arguments.seed, arguments.seed + arguments.cases):
            if time.monotonic() > end or len(places) == _MOST_FAULTS:
                break
            place.seek(0)
            place.write(b"%d \n" % (seed + 1))
            try:
                target.case(prepared, random.Random(seed))
            except Exception as error:
                where = _signature(error)
                if where not in places:
                    places.add(where)
                    said = "".join(traceback.format_exception(error))[-4000:]
                    with open(folder / "faults", "a") as file:
                        file.write(json.dumps({"seed": seed, "said": said}) + "\n")


def again(arguments):
    """Run the case of an input in this process."""
    with tempfile.TemporaryDirectory() as folder:
        target = targets(arguments.modules)[arguments.targets[0]]
        target.case(target.prepare(Path(folder)), FromBytes(arguments.input.read_bytes()))


def _signature(error):
    """What tells a fault from others: the innermost places of an error and of its cause."""
    found = []
    while error is not None:
        frames = traceback.extract_tb(error.__traceback__)
        found.append((type(error), *((frame.filename, frame.lineno) for frame in frames[-1:])))
        error = error.__cause__ or error.__context__
    return tuple(found)


def _guided(arguments, folder):
    import atheris

    # Numba does not compile functions that are instrumented, so those come first.
    kernels = importlib.import_module("fastvec.kernels")
    for module in pkgutil.walk_packages(kernels.__path__, "fastvec.kernels."):
        if ".cuda" not in module.name:
            importlib.import_module(module.name)
    with atheris.instrument_imports(include=["fastvec"]):
        target = targets()[arguments.targets[0]]

    (folder / "input").mkdir()
    prepared = target.prepare(folder / "input")
    corpus = NOTES.with_name("fastvec-fuzz-corpus") / arguments.targets[0]
    corpus.mkdir(parents=True, exist_ok=True)
    found = f"-artifact_prefix={corpus.parent}/{arguments.targets[0]}-"
    limits = [f"-max_total_time={int(arguments.seconds)}", "-rss_limit_mb=5000", "-max_len=4096"]
    numbers = itertools.count(arguments.seed + 1)
    place = open(folder / "place", "r+b", buffering=0)  # noqa: SIM115  (until the process ends)

    def case(data):
        place.seek(0)
        place.write(b"%d \n" % next(numbers))
        target.case(prepared, FromBytes(data))

    atheris.Setup([sys.argv[0], str(corpus), found, "-timeout=60", *limits], case)
    atheris.Fuzz()
    sys.exit()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    main()
