"""Coverage counters of our own, registered with libFuzzer inside the stock atheris wheel.

libFuzzer judges an input by 8-bit counters: an input that makes a counter non-zero for the first time is kept and
mutated further. Compilers normally supply the counters; here they are a ``bytearray``, and a target says what an
execution reached by writing into it::

    features = Features(1024)
    buffer = features.buffer          # look the attribute up once, outside the loop
    buffer[4 * exit_kind + shadow] = 1

One execution costs about 20 ns a mark and 0.2 us for clearing and scanning 4096 counters, so a *joint* projection of
what matters (exit kind x shadow x what was injected), one to four thousand points, is the size to aim for. Writing 1
gives one feature a point. Larger values tell more from one point: libFuzzer distinguishes 1, 2, 3, 4-7, 8-15, 16-31,
32-127 and 128-255.

Mark at least two points in each execution, say the exit kind alone besides the joint one. The first input that
libFuzzer loads gets the logarithm of its number of features as its energy: with a single feature it is not mutated any
more once there are other inputs.

libFuzzer clears the buffer before each execution, and only then: without libFuzzer, call `Features.clear`.
"""

import ctypes
import importlib
import os
import sys
from importlib.util import find_spec
from types import ModuleType

from worldswitch.core import compiled

MAX_POINTS = 1 << 20
"""More points than this cost more to scan after each execution than any target takes to run."""

_NATIVE = "worldswitch__mypyc"  # the module that holds the compiled code of all
_CORE = "atheris.core_with_libfuzzer"
_MUTATOR = "atheris.custom_mutator"
_CROSSOVER = "atheris.custom_crossover"

# libFuzzer keeps the addresses for the life of the process; a Features that goes out of scope must not free them.
_registered: list[object] = []


class Features:
    """A buffer of 8-bit counters that guides the fuzzer once `register` was called.

    ``buffer`` is an ordinary ``bytearray`` and works without libFuzzer, in tests and in blind runs.
    """

    __slots__ = ("_next", "_pinned", "buffer", "size")

    def __init__(self, size: int) -> None:
        """A buffer of ``size`` points, 1 to `MAX_POINTS`; anything else raises ValueError."""
        if not 1 <= size <= MAX_POINTS:
            raise ValueError(f"a feature buffer has 1 to {MAX_POINTS} points, not {size}")
        self.size = size
        self.buffer = bytearray(size)
        self._next = 0
        self._pinned: tuple[object, object] | None = None

    def block(self, points: int) -> int:
        """Reserves the next ``points`` points and returns the index of the first, so that projections don't overlap.

        Raises ValueError when fewer than ``points`` are left.
        """
        if points < 1 or self._next + points > self.size:
            raise ValueError(f"a block of {points} points does not fit: {self.size - self._next} of {self.size} left")
        first = self._next
        self._next += points
        return first

    def marked(self) -> list[int]:
        """The indices of the points that are not zero, in order."""
        return [index for index, count in enumerate(self.buffer) if count]

    def clear(self) -> None:
        """Sets every point to zero, as libFuzzer does before each execution."""
        self.buffer[:] = bytes(self.size)

    def register(self, *, mutator: bool = False, crossover: bool = False) -> None:
        """Hands the buffer to libFuzzer; before ``atheris.Fuzz()``, once a process (a second call does nothing).

        ``mutator`` and ``crossover`` say whether ``atheris.Setup`` is given a custom mutator and crossover: see
        `load_libfuzzer`, whose errors are raised here too.
        """
        if self._pinned is not None:
            return
        libfuzzer = load_libfuzzer(mutator=mutator, crossover=crossover)
        counters = (ctypes.c_uint8 * self.size).from_buffer(self.buffer)
        # The table has two words a counter: a program counter and flags. The numbers only have to differ, and are the
        # same in every run; flag 0 says that no point is a function's entry, which libFuzzer would try to name.
        table = (ctypes.c_size_t * (2 * self.size))()
        table[::2] = list(range(1, self.size + 1))
        bounds = [(start := ctypes.addressof(array), start + ctypes.sizeof(array)) for array in (counters, table)]
        _hand_over(libfuzzer, *bounds[0], *bounds[1])
        self._pinned = (counters, table)
        _registered.append(self._pinned)


def _hand_over(libfuzzer: ctypes.CDLL, counters: int, counters_end: int, table: int, table_end: int) -> None:
    for name, *bounds in (
        ("__sanitizer_cov_8bit_counters_init", counters, counters_end),
        ("__sanitizer_cov_pcs_init", table, table_end),
    ):
        function = libfuzzer[name]
        function.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
        function.restype = None
        function(*bounds)


def native_coverage() -> tuple[int, int, int, int] | None:
    """Where the compiled core counts what it executes: addresses of the counters, their end, their table, its end.

    None where the core is pure, or was not compiled with ``WORLDSWITCH_COMPILE=coverage`` (``native.c``).
    """
    spec = find_spec(_NATIVE) if compiled() else None
    if spec is None or spec.origin is None:
        return None
    try:
        known = (ctypes.c_size_t * 4).in_dll(ctypes.CDLL(spec.origin), "worldswitch_coverage")
    except ValueError:
        return None
    return known[0], known[1], known[2], known[3]


def register_coverage(*, mutator: bool = False, crossover: bool = False) -> None:
    """Hands the compiled core's own counters to libFuzzer, where it has any; like `Features.register`."""
    bounds = native_coverage()
    if bounds is not None:
        _hand_over(load_libfuzzer(mutator=mutator, crossover=crossover), *bounds)


def spread(key: int, points: int) -> int:
    """An index below ``points`` for an integer key of any size: the way to fold a projection that is too large.

    The same key gives the same index in every process and version, which ``hash()`` of text does not. Two keys share
    an index with probability 1/``points``.
    """
    # Multiplicative hashing: the high bits of the product depend on every bit of the key.
    return ((key % 0x1FFF_FFFF_FFFF_FFFF * 0x9E37_79B9_7F4A_7C15 & 0xFFFF_FFFF_FFFF_FFFF) * points) >> 64


def load_libfuzzer(*, mutator: bool, crossover: bool) -> ctypes.CDLL:
    """The library that holds libFuzzer, loaded so that a custom mutator and crossover are really called.

    libFuzzer finds both through weak symbols, bound when it is loaded. Loaded first, it silently mutates on its own:
    hence the hooks first, globally visible, and only those that will be set, for an unset hook aborts the process.

    Raises ModuleNotFoundError without atheris, and RuntimeError when libFuzzer was loaded too early for a hook.
    """
    native = importlib.import_module("atheris.native")
    for wanted, name in ((mutator, _MUTATOR), (crossover, _CROSSOVER)):
        if wanted and name not in sys.modules:
            if _CORE in sys.modules:
                raise RuntimeError(f"{_CORE} was imported before {name}, which libFuzzer would then ignore")
            _import_global(name)
    if native.libfuzzer_is_loaded():  # preloaded, as OSS-Fuzz does with sanitizers: its symbols are global
        return ctypes.CDLL(None)
    core = importlib.import_module(_CORE)
    return ctypes.CDLL(core.__file__)


def _import_global(name: str) -> ModuleType:
    flags = sys.getdlopenflags()
    sys.setdlopenflags(flags | os.RTLD_GLOBAL)
    try:
        return importlib.import_module(name)
    finally:
        sys.setdlopenflags(flags)
