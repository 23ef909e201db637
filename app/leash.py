"""Start a program that ends when the process that started it ends, whichever way that was.

Run as a script, `python leash.py PARENT SIGNAL USER -- PROGRAM ARGUMENTS...`; it prepares its own process and becomes
PROGRAM, which keeps the process id. Linux sends SIGNAL when PARENT dies; elsewhere only an orderly stop ends it.

USER is a user id that root hands its rights to, or - to stay who we are. Postgres refuses to run as root, and yet the
environment and the data folder of root may lie where nobody else can look (below /root, say). The one right that is
kept is to find and read files, so that no permission of any folder has to be loosened. Containers that withhold it
grant another that includes it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG, _PR_CAPBSET_READ, _PR_SET_SECUREBITS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 1, 23, 28, 47, 2
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_CAP_DAC_OVERRIDE, _CAP_DAC_READ_SEARCH = 1, 2
_CAPABILITY_VERSION_3 = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def _call(function: str, *arguments: object) -> int:
    """Call the C library; raises OSError where it answers -1."""
    result: int = getattr(_libc, function)(*arguments)
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}")
    return result


def _become(user: int) -> None:
    """Hand root's rights to `user`, but for that to find and read files."""
    may_read = _call("prctl", _PR_CAPBSET_READ, _CAP_DAC_READ_SEARCH, 0, 0, 0) == 1
    kept = _CAP_DAC_READ_SEARCH if may_read else _CAP_DAC_OVERRIDE
    # Without this bit access(2), by which Postgres looks for its own files, would not heed the right that is kept.
    _call("prctl", _PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP, 0, 0, 0)
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    bit = 1 << kept
    _call("capset", ctypes.byref(_Header(_CAPABILITY_VERSION_3, 0)), (_Sets * 2)(_Sets(bit, bit, bit), _Sets(0, 0, 0)))
    _call("prctl", _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, kept, 0, 0)


def main(parent: int, death_signal: int, user: int | None, program: list[str]) -> None:
    if user is not None:
        try:
            _become(user)
        except OSError as error:
            sys.exit(f"Root may not hand its rights to another user here ({error}). Run this as an ordinary user.")
    if sys.platform == "linux":
        _call("prctl", _PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the process that started this one has ended")
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.execv(program[0], program)  # noqa: S606


if __name__ == "__main__":
    _libc = ctypes.CDLL(None, use_errno=True)
    main(int(sys.argv[1]), int(sys.argv[2]), None if sys.argv[3] == "-" else int(sys.argv[3]), sys.argv[5:])
