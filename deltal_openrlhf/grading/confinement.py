"""What a grading child may ask of the kernel: to compute, and to read files. Not to write or open a file for writing, to start a program or
a process, to open a connection, or to send a signal.

Graders do not run what a model wrote, so this is the second line of defence, for a fault in a parser. It is a seccomp filter of Linux on
x86-64. On other machines, and where the kernel refuses filters, the graders' own care is the only line.

Not covered: code that has escaped can write answers to its own pipe, patch the scorer for the next answers of its child, and read every
file that the user can read. Only the form of its words is checked (process.py, grades.py), and a child is replaced at times (worker.py).
"""

import ctypes
import errno
import fcntl
import os
import platform
import struct
import sys

_ALLOWED = {
    "read": 0, "write": 1, "close": 3, "stat": 4, "fstat": 5, "lstat": 6, "poll": 7, "lseek": 8, "mmap": 9, "mprotect": 10, "munmap": 11,
    "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "pread64": 17, "readv": 19, "writev": 20, "access": 21,
    "select": 23, "sched_yield": 24, "mremap": 25, "madvise": 28, "dup": 32, "nanosleep": 35, "getitimer": 36, "setitimer": 38,
    "getpid": 39, "exit": 60, "uname": 63, "getcwd": 79, "readlink": 89, "gettimeofday": 96, "getrlimit": 97,
    "getrusage": 98, "sysinfo": 99, "times": 100, "getuid": 102, "getgid": 104, "geteuid": 107, "getegid": 108, "getppid": 110,
    "sigaltstack": 131, "gettid": 186, "time": 201, "futex": 202, "sched_getaffinity": 204, "getdents64": 217, "set_tid_address": 218,
    "restart_syscall": 219, "fadvise64": 221, "clock_gettime": 228, "clock_getres": 229, "clock_nanosleep": 230, "exit_group": 231,
    "newfstatat": 262, "readlinkat": 267, "faccessat": 269, "pselect6": 270, "ppoll": 271, "set_robust_list": 273, "getcpu": 309,
    "getrandom": 318, "membarrier": 324, "statx": 332, "rseq": 334, "faccessat2": 439,
}  # fmt: skip
"""System calls of x86-64, by their numbers."""
_OPEN, _OPENAT, _CLONE, _CLONE3, _FCNTL = 2, 257, 56, 435, 72
_COMMANDS = (fcntl.F_DUPFD, fcntl.F_GETFD, fcntl.F_SETFD, fcntl.F_GETFL, fcntl.F_DUPFD_CLOEXEC)
"""Of fcntl. Others make the kernel send signals (F_SETOWN with O_ASYNC)."""
_CHANGES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_THREAD = 0x10000
_X86_64 = 0xC000003E

_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
"""Offsets in what the kernel shows a filter."""
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000
_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2


def confine() -> bool:
    """Confine this process for the rest of its life. Whether it is: a system call outside the list fails with EPERM from here on."""
    if sys.platform != "linux" or platform.machine() != "x86_64" or sys.maxsize < 2**32:
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    program = _program()
    instructions = ctypes.create_string_buffer(program, len(program))
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(instructions)))
    return libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 and not libc.prctl(
        _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, header, 0, 0
    )


def _program() -> bytes:
    refuse, allow = (_RETURN, 0, 0, _REFUSE | errno.EPERM), (_RETURN, 0, 0, _ALLOW)
    lines = [(_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 1, 0, _X86_64), refuse, (_LOAD, 0, 0, _NUMBER)]
    # Without clone3, whose flags no filter sees, the C library makes its threads by clone.
    lines += [(_EQUAL, 0, 1, _CLONE3), (_RETURN, 0, 0, _REFUSE | errno.ENOSYS)]
    for number, argument, bits, if_set, if_not in (
        (_OPEN, 1, _CHANGES, refuse, allow),
        (_OPENAT, 2, _CHANGES, refuse, allow),
        (_CLONE, 0, _THREAD, allow, refuse),
    ):
        lines += [(_EQUAL, 0, 4, number), (_LOAD, 0, 0, _ARGUMENTS + 8 * argument), (_ANY_BIT, 0, 1, bits)]
        lines += [if_set, if_not]
    lines += [(_EQUAL, 0, 2 * len(_COMMANDS) + 2, _FCNTL), (_LOAD, 0, 0, _ARGUMENTS + 8)]
    for command in _COMMANDS:
        lines += [(_EQUAL, 0, 1, command), allow]
    lines.append(refuse)
    for number in _ALLOWED.values():
        lines += [(_EQUAL, 0, 1, number), allow]
    return b"".join(struct.pack("HBBI", *line) for line in [*lines, refuse])
