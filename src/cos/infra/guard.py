"""Starts one server so that it cannot outlive its owner; run as a program, never imported by COS.

    python -I -S guard.py parent=PID signal=N [namespace=UID:GID|maybe-namespace=UID:GID|account=UID:GID]
                          [doorFD=FOLDER] [pipe=FD grace=SECONDS] [check=1] -- PROGRAM ARGUMENT…

Without `pipe` it asks the kernel (of Linux) to signal the server when the owner's thread ends, and becomes
the server: same process id, nothing left in between. With `pipe` (elsewhere) it stays as the server's parent
and stops it when the owner's end of the socket closes, which a kill -9 also does.

Only modules that load in a few milliseconds are imported at the top: this stands in the way of each start.
"""

import ctypes
import os
import sys
import time

PR_SET_PDEATHSIG = 1
CLONE_NEWUSER = 0x10000000
NOT_STARTED = 70
NAMESPACE_REFUSED = 71
NOT_REACHABLE = 72
HIGHEST_CLASSIC_SIGNAL = 31


def main(arguments: list[str]) -> int:
    """Prepare this process as the options say, then become the program, or stay and watch it."""
    cut = arguments.index("--")
    options = dict(item.split("=", 1) for item in arguments[:cut])
    program = arguments[cut + 1 :]
    libc = ctypes.CDLL(None, use_errno=True)
    os.umask(0o077)
    os.chdir("/")
    _leave_terminal()
    if "pipe" in options:
        import select  # noqa: F401, PLC0415  (only this variant pays, and while it may still read the library)
        import signal  # noqa: F401, PLC0415
    if not _take_identity(libc, options):
        return NAMESPACE_REFUSED
    if "check" in options:
        return _check(program)
    if "pipe" in options:
        return _watch(program, libc, int(options["pipe"]), int(options["signal"]), float(options["grace"]))
    _default_signals(libc)
    if sys.platform == "linux":
        # After the change of identity, which would have cleared it.
        libc.prctl(PR_SET_PDEATHSIG, int(options["signal"]), 0, 0, 0)
    # An owner that died before the line above sends no signal any more: then this is already an orphan.
    if os.getppid() != int(options["parent"]):
        return NOT_STARTED
    return _replace_by(program)


def _take_identity(libc: ctypes.CDLL, options: dict[str, str]) -> bool:
    for name, folder in options.items():
        if name.startswith("door"):
            _open_door(folder, int(name.removeprefix("door")))
    if "account" in options:
        _become(*_pair(options["account"]))
    elif "namespace" in options:
        return _enter_namespace(libc, *_pair(options["namespace"]))
    elif "maybe-namespace" in options:
        _enter_namespace(libc, *_pair(options["maybe-namespace"]))
    return True


def _replace_by(program: list[str]) -> int:
    try:
        os.execv(program[0], program)  # noqa: S606  (this is what a launcher is for; no shell)
    except OSError as error:
        sys.stderr.write(f"error: {program[0]} cannot be started: {error.strerror}\n")
    return NOT_STARTED


def _pair(text: str) -> tuple[int, int]:
    uid, gid = text.split(":")
    return int(uid), int(gid)


def _leave_terminal() -> None:
    if os.getsid(0) != os.getpid():
        os.setsid()  # a Ctrl-C in the owner's terminal is the owner's to handle


def _open_door(folder: str, number: int) -> None:
    """Open a folder as the one who may; the program enters it as /proc/self/fd/NUMBER whoever it becomes."""
    if sys.platform == "linux":
        descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        os.dup2(descriptor, number)
        os.close(descriptor)


def _become(uid: int, gid: int) -> None:
    if os.getuid() == os.geteuid() == uid:
        return
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)  # for root this sets the real and the saved one too: no way back


def _enter_namespace(libc: ctypes.CDLL, uid: int, gid: int) -> bool:
    """Give up root's rights but keep its files: inside this user is `uid`, outside it stays what it is."""
    if sys.platform != "linux":
        return False
    outer_uid, outer_gid = os.geteuid(), os.getegid()
    if libc.unshare(CLONE_NEWUSER) != 0:
        return False
    try:
        _put("/proc/self/setgroups", "deny")
        _put("/proc/self/gid_map", f"{gid} {outer_gid} 1")
        _put("/proc/self/uid_map", f"{uid} {outer_uid} 1")
    except OSError:
        return False
    return True


def _put(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def _check(paths: list[str]) -> int:
    """Print the first path that this account cannot enter or run."""
    for path in paths:
        if not os.access(path, os.X_OK):
            sys.stdout.write(path)
            return NOT_REACHABLE
    return 0


def _default_signals(libc: ctypes.CDLL) -> None:
    """Undo what Python and the owner ignore, catch or block: a server expects a clean table."""
    for number in range(1, HIGHEST_CLASSIC_SIGNAL + 1):
        libc.signal(number, None)
    none = ctypes.create_string_buffer(128)  # larger than any platform's sigset_t; all zero is the empty set
    libc.sigprocmask(2 if sys.platform == "linux" else 3, none, None)  # SIG_SETMASK


def _watch(program: list[str], libc: ctypes.CDLL, owner: int, stop_signal: int, grace_seconds: float) -> int:
    """Run the program as a child, stop it when the owner's end of the socket closes, end as it ended."""
    import signal  # noqa: PLC0415  (loaded by now, see main)

    os.set_inheritable(owner, False)  # noqa: FBT003  (the standard library's signature)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: None)
    # Blocked until the child has its own table: a request that it took in ours would be lost in its exec.
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    child = os.fork()
    if child == 0:
        try:
            _leave_terminal()
            _default_signals(libc)
            _replace_by(program)
        finally:
            os._exit(NOT_STARTED)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    try:
        status = _until_ended(child, owner, woken, stop_signal, grace_seconds)
    except BaseException:
        os.kill(child, signal.SIGKILL)  # without its guard nothing would end it
        raise
    return _end_alike(libc, status)


def _until_ended(child: int, owner: int, woken: int, stop_signal: int, grace_seconds: float) -> int:
    """Wait for the child, and end it once the owner has gone or this guard is told to stop."""
    import select  # noqa: PLC0415
    import signal  # noqa: PLC0415

    wanted = _tell(owner, child)
    deadline: float | None = None
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        if not wanted and deadline is None:
            os.kill(child, stop_signal)
            os.kill(child, signal.SIGCONT)  # a paused one could not follow
            deadline = time.monotonic() + grace_seconds
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            os.kill(child, signal.SIGKILL)
            left = None
        sources = [woken, owner] if wanted else [woken]
        readable = select.select(sources, [], [], left)[0]
        if owner in readable and _has_left(owner):
            wanted = False
        if woken in readable and set(os.read(woken, 64)) - {signal.SIGCHLD}:
            wanted = False


def _tell(owner: int, child: int) -> bool:
    try:
        os.write(owner, b"%d\n" % child)
    except OSError:
        return False
    return True


def _has_left(owner: int) -> bool:
    try:
        return not os.read(owner, 64)
    except ConnectionResetError:
        return True  # it died before it had read which process this watches


def _end_alike(libc: ctypes.CDLL, status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return code
    _default_signals(libc)
    os.kill(os.getpid(), -code)
    return NOT_STARTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
