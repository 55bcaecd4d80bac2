"""Kill a process at its n-th system call, by tracing it (Linux).

The calls of the work alone are counted: the child asks to be traced, stops, and is led from call to
call. A call that it is killed at has not been made.
"""

import ctypes
import os
import signal
import sys
import traceback
from collections.abc import Callable

_TRACEME, _SYSCALL, _SETOPTIONS, _SYSCALL_INFO = 0, 24, 0x4200, 0x420E
_SYSGOOD, _EXITKILL = 1, 0x100000  # mark stops of calls; end the child with its tracer
_ENTRY = 1
_STOP_OF_CALL = signal.SIGTRAP | 0x80
FAILED = 99  # exit code of work that raised


def can_trace() -> bool:
    """Whether this system lets a process trace its child."""
    if sys.platform != "linux":
        return False
    try:
        return killed_at(lambda: os.stat("/"), 1) is None
    except OSError:
        return False


def killed_at(work: Callable[[], object], call: int) -> int | None:
    """Run ``work`` in a fork and kill it with SIGKILL when it enters its ``call``-th call.

    Returns:
        None if it was killed, else how many calls it made to its end.

    Raises:
        OSError: tracing is not allowed here.
        RuntimeError: the work failed by itself.
    """
    pid = _started(work)
    entered = 0
    try:
        _ptrace(_SETOPTIONS, pid, 0, _SYSGOOD | _EXITKILL)
        deliver = 0
        while True:
            _ptrace(_SYSCALL, pid, 0, deliver)
            _, status = os.waitpid(pid, 0)
            if not os.WIFSTOPPED(status):
                pid = 0
                break
            stop = os.WSTOPSIG(status)
            deliver = 0 if stop in (_STOP_OF_CALL, signal.SIGTRAP) else stop
            entered += stop == _STOP_OF_CALL and _enters(pid)
            if entered >= call:
                return None
    finally:
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code:
        raise RuntimeError(f"the work ended with {code} by itself")
    return entered


def _started(work: Callable[[], object]) -> int:
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            _ptrace(_TRACEME, 0, 0, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(FAILED)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if not os.WIFSTOPPED(status):
        raise OSError("this system does not let a process trace its child")
    return pid


def _enters(pid: int) -> bool:
    """Whether the child stands before a call, not behind one."""
    told = ctypes.create_string_buffer(128)
    _ptrace(_SYSCALL_INFO, pid, len(told), ctypes.addressof(told))
    return told.raw[0] == _ENTRY


_LIBC = ctypes.CDLL(None, use_errno=True)
if sys.platform == "linux":
    _LIBC.ptrace.restype = ctypes.c_long
    _LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def _ptrace(request: int, pid: int, address: int, data: int) -> None:
    if _LIBC.ptrace(request, pid, address, data) < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"ptrace: {os.strerror(code)}")
