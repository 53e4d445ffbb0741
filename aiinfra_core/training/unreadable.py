"""Keeps what this process knows (keys in its environment, its memory, its open files) from trainings that run as the same account.

It stops reading `/proc/PID/environ` and attaching a debugger. What is in files that the account can read stays readable: give a runner
an account and keys of its own.
"""

import ctypes
import sys

_PR_SET_DUMPABLE = 4


def keep_unreadable() -> None:
    """Let no other process of this account look into this one, nor into those it forks; on Linux only, and once is enough.

    A process with CAP_SYS_PTRACE, such as root's, still can. A program that is started from here is readable again.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
