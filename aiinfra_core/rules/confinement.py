"""What a process can give up for good: opening files and sockets, starting processes, memory and processor time beyond a limit.

On Linux the kernel refuses every call that is not one of the few a calculation needs (seccomp); elsewhere the limits alone have to do.
Uses the standard library only. Which process does this is in `worker`.
"""

import ctypes
import platform
import resource
import struct
import sys

_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2
_ALLOW, _REFUSE_NOT_PERMITTED = 0x7FFF0000, 0x00050000 | 1
_LOAD, _IS, _RETURN = 0x20, 0x15, 0x06
_NUMBER_AT, _MACHINE_AT = 0, 4
_MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# read, write, futex, memory, signals, clocks and the end, by their numbers.
_CALLS = {
    "x86_64": (0, 1, 9, 10, 11, 12, 13, 14, 15, 24, 25, 28, 35, 38, 39, 60, 96, 131, 186, 202, 219, 228, 230, 231, 318),
    "aarch64": (63, 64, 93, 94, 98, 99, 101, 103, 113, 115, 124, 128, 132, 134, 135, 139, 172, 178, 214, 215, 216, 222, 226, 233, 278),
}


def confine(memory_bytes: int) -> None:
    """Give up everything a calculation does not need, for good; what is open stays open.

    Raises:
        OSError: the kernel refuses to be stricter.
    """
    _limit(resource.RLIMIT_AS, memory_bytes)
    for limit in (resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC, resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        _limit(limit, 0)
    if sys.platform == "linux":
        _refuse_all_but(platform.machine())


def _limit(limit: int, value: int) -> None:
    most = resource.getrlimit(limit)[1]
    value = value if most == resource.RLIM_INFINITY else min(value, most)
    resource.setrlimit(limit, (value, value))


def _refuse_all_but(machine: str) -> None:
    kernel = ctypes.CDLL(None, use_errno=True)
    _must(kernel, _NO_NEW_PRIVILEGES, 1, 0)
    if machine in _CALLS:
        steps = _program(machine)
        code = ctypes.create_string_buffer(b"".join(steps))
        program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(code)))
        _must(kernel, _SET_SECCOMP, _FILTER, ctypes.addressof(program))


# A filter is a little program: load a word, jump so many steps if it is or is not equal, return what is to be done.
def _program(machine: str) -> list[bytes]:
    calls = _CALLS[machine]
    allowed = [_step(_IS, len(calls) - at, 0, call) for at, call in enumerate(calls)]
    of_this_machine = [_step(_LOAD, 0, 0, _MACHINE_AT), _step(_IS, 0, len(calls) + 1, _MACHINES[machine]), _step(_LOAD, 0, 0, _NUMBER_AT)]
    return [*of_this_machine, *allowed, _step(_RETURN, 0, 0, _REFUSE_NOT_PERMITTED), _step(_RETURN, 0, 0, _ALLOW)]


def _step(what: int, if_equal: int, if_not: int, value: int) -> bytes:
    return struct.pack("HBBI", what, if_equal, if_not, value)


def _must(kernel: ctypes.CDLL, option: int, value: int, pointer: int) -> None:
    if kernel.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(pointer), ctypes.c_ulong(0), ctypes.c_ulong(0)) != 0:
        raise OSError(ctypes.get_errno(), "the kernel refuses to confine this process")
