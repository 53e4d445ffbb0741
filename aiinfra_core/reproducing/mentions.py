"""Where training code mentions what may make one run differ from the next: clocks, chance, threads, orders, machines, unpinned packages.

The code is read, never run. That something is mentioned proves nothing; `causes` says so only beside what it saw in the bytes.
"""

import ast
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

MOST_FILES, MOST_BYTES, MOST_MENTIONS = 500, 2**20, 8
_MOST_LETTERS = 100

# What a call begins with, names resolved as the file imports them -> the kind of what it may bring in.
_CALLS = {
    "time": (
        *(f"time.{name}" for name in ("time", "localtime", "gmtime", "ctime", "asctime", "strftime", "monotonic", "perf_counter")),
        *(f"time.{name}" for name in ("time_ns", "monotonic_ns", "perf_counter_ns", "process_time", "process_time_ns")),
        *(f"datetime.datetime.{name}" for name in ("now", "utcnow", "today")),
        *(f"pandas.Timestamp.{name}" for name in ("now", "utcnow", "today")),
        "datetime.date.today",
    ),
    "randomness": ("random", "numpy.random", "secrets", "uuid.uuid1", "uuid.uuid4", "os.urandom", "os.getrandom", "torch.rand"),
    "threads": (
        *("os.cpu_count", "os.process_cpu_count", "os.sched_getaffinity", "multiprocessing", "concurrent.futures", "threading.Thread"),
        *("joblib.Parallel", "torch.set_num_threads"),
    ),
    "hash_seed": ("set", "frozenset", "hash"),
    "listing": ("os.listdir", "os.scandir", "os.walk", "glob.glob", "glob.iglob", ".iterdir", ".glob", ".rglob"),
    "child": ("subprocess", "os.system", "os.popen", "os.posix_spawn"),
    "machine": (
        "os.getpid",
        "os.getppid",
        "os.uname",
        "socket.gethostname",
        "socket.getfqdn",
        "platform",
        "getpass.getuser",
        "os.getlogin",
    ),
    "path": ("os.getcwd", "pathlib.Path.cwd", "os.path.abspath", "os.path.realpath", ".resolve", ".absolute", "tempfile"),
    "network": ("urllib.request", "http.client", "requests", "httpx", "aiohttp", "socket.create_connection", "huggingface_hub"),
}
_KEYWORDS = {"n_jobs": "threads", "nthread": "threads", "num_threads": "threads", "num_workers": "threads", "max_workers": "threads"}
# Calls that begin a sequence of chance where it was told to begin, if they are told.
_SEEDED = ("random.seed", "random.Random", "numpy.random.seed", "numpy.random.default_rng", "numpy.random.RandomState")
_ORDERED = ("sorted", "len", "sum", "min", "max", "any", "all")


def mentions(code: Path, entry_point: str) -> dict[str, list[str]]:
    """Return kind -> up to eight lines `file:line text`, those of the entry point first.

    Args:
        code: a checked-out commit.
        entry_point: the script that is run, relative to it.
    """
    found: dict[str, list[str]] = {}
    for file in _scripts(code, entry_point):
        name, text = file.relative_to(code).as_posix(), file.read_text(errors="replace")
        try:
            seen = list(_seen(ast.parse(text)))
        except (SyntaxError, ValueError, RecursionError):
            continue
        lines = text.splitlines()
        for kind, number in sorted(set(seen), key=lambda one: one[1]):
            at = found.setdefault(kind, [])
            if len(at) < MOST_MENTIONS:
                at.append(f"{name}:{number} {lines[number - 1].strip()[:_MOST_LETTERS]}")
    if unpinned := list(islice(_unpinned(code), MOST_MENTIONS)):
        found["packages"] = unpinned
    return found


def _unpinned(code: Path) -> Iterator[str]:
    for file in sorted(code.rglob("requirements*.txt")):
        if file.is_file() and not file.is_symlink() and file.stat().st_size <= MOST_BYTES:
            for number, line in enumerate(file.read_text(errors="replace").splitlines(), start=1):
                if line.strip() and not line.lstrip().startswith(("#", "-")) and "==" not in line:
                    yield f"{file.relative_to(code).as_posix()}:{number} {line.strip()[:_MOST_LETTERS]}"


def _scripts(code: Path, entry_point: str) -> list[Path]:
    first = code / entry_point
    others = [path for path in sorted(code.rglob("*.py"))[:MOST_FILES] if path != first]
    return [path for path in (first, *others) if path.is_file() and not path.is_symlink() and path.stat().st_size <= MOST_BYTES]


def _seen(tree: ast.Module) -> Iterator[tuple[str, int]]:
    names, calls = _imported(tree), [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    ordered = {id(one) for call in calls if _name(call.func, names) in _ORDERED for one in call.args}
    seeded = {"random" for call in calls if _name(call.func, names) in _SEEDED[:2] and (call.args or call.keywords)}
    seeded |= {"numpy.random" for call in calls if _name(call.func, names) in _SEEDED[2:] and (call.args or call.keywords)}
    for call in calls:
        name = _name(call.func, names)
        kind = _kind(name)
        if kind and id(call) not in ordered and not (kind == "randomness" and _is_seeded(name, seeded)):
            yield kind, call.lineno
        yield from ((_KEYWORDS[word.arg], word.value.lineno) for word in call.keywords if word.arg in _KEYWORDS)
    yield from (
        ("hash_seed", node.lineno) for node in ast.walk(tree) if isinstance(node, (ast.Set, ast.SetComp)) and id(node) not in ordered
    )


def _imported(tree: ast.Module) -> dict[str, str]:
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {one.asname or one.name.split(".")[0]: one.name if one.asname else one.name.split(".")[0] for one in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
    return names


# A method of something unknown is called by its own name with a dot before it.
def _name(node: ast.expr, names: Mapping[str, str]) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or (parts and node.id not in names):
        return f".{parts[0]}" if parts else ""
    return ".".join([names.get(node.id, node.id), *reversed(parts)])


def _kind(name: str) -> str | None:
    for kind, beginnings in _CALLS.items():
        if any(name == beginning or name.startswith(f"{beginning}.") for beginning in beginnings):
            return kind
    return None


def _is_seeded(name: str, seeded: set[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in seeded) and name != "random.SystemRandom"
