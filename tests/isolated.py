"""Run Python code in a process that the kernel kills, with SIGSYS, at its first network socket.

    python tests/isolated.py "import socket; socket.socket()"

A seccomp filter sees native code and every thread, where Python's own audit hooks see only Python. Sockets between
processes of this machine (AF_UNIX) are let through. Linux only.
"""

import ctypes
import platform
import struct
import sys

# Of the kernel's seccomp_data, filter.h, prctl.h and unistd.h.
OFFSET_NUMBER, OFFSET_ARCH, OFFSET_FIRST_ARGUMENT = 0, 4, 16
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
ALLOW, KILL_PROCESS = 0x7FFF0000, 0x80000000
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, MODE_FILTER = 38, 22, 2
AF_UNIX = 1
SOCKET = {"x86_64": (0xC000003E, 41), "aarch64": (0xC00000B7, 198)}
"""Machine -> its number as an architecture, and that of socket(2)."""


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def is_supported() -> bool:
    """Whether this machine can be told to."""
    return sys.platform == "linux" and platform.machine() in SOCKET


def forbid_network() -> None:
    """From here on, socket(2) of any family but AF_UNIX ends the process, whichever thread calls it."""
    architecture, number = SOCKET[platform.machine()]
    instructions = b"".join(
        struct.pack("HBBI", code, if_equal, if_not, value)
        for code, if_equal, if_not, value in (
            (LOAD, 0, 0, OFFSET_ARCH),
            (JUMP_IF_EQUAL, 0, 4, architecture),
            (LOAD, 0, 0, OFFSET_NUMBER),
            (JUMP_IF_EQUAL, 0, 2, number),
            (LOAD, 0, 0, OFFSET_FIRST_ARGUMENT),
            (JUMP_IF_EQUAL, 0, 1, AF_UNIX),
            (RETURN, 0, 0, ALLOW),
            (RETURN, 0, 0, KILL_PROCESS),
        )
    )
    buffer = ctypes.create_string_buffer(instructions, len(instructions))
    program = _Program(len(instructions) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    for words in ((PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, MODE_FILTER, ctypes.byref(program), 0, 0)):
        if libc.prctl(*words) != 0:
            raise OSError(ctypes.get_errno(), "the kernel takes no seccomp filter")


if __name__ == "__main__":
    forbid_network()
    exec(sys.argv[1])
