"""What an import does to its process, and to the machine: nothing; and what a first search does: little."""

import json
import pkgutil
import re

import fastvec

WATCH = """
import _thread, gc, locale, logging, os, random, signal, sys, threading, warnings

CHANGES = (
    "_posixsubprocess.", "_thread.start_", "ftplib.", "http.client.", "os.", "shutil.", "smtplib.", "socket.",
    "sqlite3.", "subprocess.", "syslog.", "tempfile.", "urllib.", "webbrowser.", "winreg.",
)
READS = {"os.fwalk", "os.getxattr", "os.listdir", "os.listxattr", "os.scandir", "os.walk"}
done = []


def watch(event, arguments):
    if event == "open":
        path, mode, flags = arguments
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND):
            done.append(["open", str(path)])
    elif event.startswith(CHANGES) and event not in READS:
        done.append([event, repr(arguments)])


def started(function, *arguments, **options):
    done.append(["a thread", repr(function)])
    return start(function, *arguments, **options)


def state():
    signals = {number: signal.getsignal(number) for number in signal.valid_signals()}
    hooks = (sys.excepthook, sys.displayhook, sys.unraisablehook, threading.excepthook)
    limits = (sys.getrecursionlimit(), sys.getswitchinterval(), gc.get_threshold(), gc.isenabled())
    root = logging.root
    known = {
        "environment": dict(os.environ),
        "threads": threading.enumerate(),
        "signals": signals,
        "hooks": (*hooks, sys.gettrace(), sys.getprofile()),
        "limits": limits,
        "warnings": list(warnings.filters),
        "logging": (root.level, list(root.handlers), logging.raiseExceptions, logging.root.manager.disable),
        "streams": (sys.stdin, sys.stdout, sys.stderr),
        "path": (list(sys.path), list(sys.meta_path), os.getcwd()),
        "locale": locale.setlocale(locale.LC_ALL),
        "random": random.getstate(),
    }
    for kind in ("fd", "task"):  # of Linux: open files, and the system's threads
        if os.path.isdir(f"/proc/self/{kind}"):
            known[kind] = len(os.listdir(f"/proc/self/{kind}"))
    if "numpy" in sys.modules:
        import numpy

        known["numpy"] = (numpy.geterr(), repr(numpy.random.get_state()), numpy.get_printoptions())
    return known


for owner, name in (
    (_thread, "start_new_thread"),
    (threading, "_start_new_thread"),
    (threading, "_start_joinable_thread"),
):
    if hasattr(owner, name):
        start = getattr(owner, name)
        setattr(owner, name, started)
"""

IMPORTS = (
    WATCH
    + """
import importlib, json

first, *names = sys.argv[1:]
for name in first.split():
    importlib.import_module(name)
before = state()
sys.addaudithook(watch)
absent = set()
for name in names:
    try:
        importlib.import_module(name)
    except ImportError as error:
        absent.add(error.name or str(error))
after = state()
changed = {name: [repr(before[name]), repr(after[name])] for name in before if before[name] != after[name]}
print(json.dumps([done, changed, sorted(absent)]))
"""
)


def modules():
    """The public modules, as users import them."""
    found = pkgutil.walk_packages(fastvec.__path__, "fastvec.", onerror=lambda name: None)
    names = [name for _, name, _ in found if "._" not in name and not name.startswith("fastvec.kernels")]
    return [name for name in names if not re.match(r"fastvec\.integrations\.\w+\.", name)]


def report(run_python, program, first, *names, **environment):
    """What importing modules did: acts, what changed, and what was absent."""
    result = run_python("-B", "-W", "error", "-c", program, first, *names, **environment)
    assert (result.returncode, result.stderr) == (0, "")
    return json.loads(result.stdout)


def test_importing_the_package_does_nothing(run_python, tmp_path):
    """No file is written, no thread or process started, no connection made; nothing of the process changes.

    Warnings would be errors.
    """
    assert report(run_python, IMPORTS, "", "fastvec", HOME=str(tmp_path)) == [[], {}, []]
    assert list(tmp_path.iterdir()) == []


def test_importing_every_public_module_does_nothing_either(run_python, tmp_path):
    """Beyond what NumPy and Numba do, which are loaded before, and the folder for compiled code."""
    cache = tmp_path / "cache"
    cache.mkdir()
    places = {"HOME": str(tmp_path), "NUMBA_CACHE_DIR": str(cache)}
    acts, changed, absent = report(run_python, IMPORTS, "numpy numba", *modules(), **places)
    assert [act for act in acts if str(cache) not in act[1]] == []
    assert (changed, absent) == ({}, [])
    assert list(tmp_path.iterdir()) == [cache]
    assert not [path for path in cache.rglob("*") if path.is_file()]
