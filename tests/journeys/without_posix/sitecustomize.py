"""Takes from every Python that finds this file what Windows lacks, as far as our packages use it.

Third-party packages keep it: they bring their own ways for other systems,
which they choose by the system's name.
"""

import builtins
import errno
import fcntl
import io
import os
import select
import signal
import sys

OURS = ("efficientdet", "efficientdet_pipeline", "tfrmod", "__main__", "__mp_main__")
MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "tty"}
ATTRIBUTES = {
    os: "sync fork forkpty getuid geteuid getgid getpgid getpgrp setsid setpgrp killpg execv mkfifo uname "
    "sched_getaffinity statvfs chown fchmod nice getloadavg WIFSIGNALED",
    signal: "SIGKILL SIGUSR1 SIGUSR2 SIGHUP SIGALRM SIGCHLD alarm pthread_sigmask pthread_kill setitimer siginterrupt",
}
_import, _open, _os_open, _fsync, _kill, _select = (
    *(builtins.__import__, io.open, os.open),
    *(os.fsync, os.kill, select.select),
)


def _is_ours(depth: int) -> bool:
    return sys._getframe(depth).f_globals.get("__name__", "").split(".")[0] in OURS


def without_modules(name, globals=None, locals=None, fromlist=(), level=0):  # type: ignore[no-untyped-def]
    importer = (globals or {}).get("__name__", "").split(".")[0]
    if name in MODULES and importer in OURS:
        raise ImportError(f"No module named {name!r} on this system")
    module = _import(name, globals, locals, fromlist, level)
    if module in ATTRIBUTES and importer in OURS:
        return _Without(module)
    return module


class _Without:
    """A module without what Windows's lacks; setting changes the module itself."""

    def __init__(self, module):  # type: ignore[no-untyped-def]
        self.__dict__["_module"] = module

    def __getattr__(self, name):  # type: ignore[no-untyped-def]
        if name in ATTRIBUTES[self._module].split():
            raise AttributeError(f"module {self._module.__name__!r} has no attribute {name!r} on this system")
        return getattr(self._module, name)

    def __setattr__(self, name, value):  # type: ignore[no-untyped-def]
        setattr(self._module, name, value)


def open_elsewhere(file, *arguments, **named):  # type: ignore[no-untyped-def]
    if isinstance(file, str | os.PathLike) and str(os.fspath(file)).startswith(("/proc", "/sys")):
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", os.fspath(file))
    return _open(file, *arguments, **named)


def open_no_folder(path, flags, *arguments, **named):  # type: ignore[no-untyped-def]
    if _is_ours(2) and os.path.isdir(path):
        raise PermissionError(errno.EACCES, "Permission denied", path)
    return _os_open(path, flags, *arguments, **named)


def flush_what_is_written(descriptor):  # type: ignore[no-untyped-def]
    number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
    if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, "Bad file descriptor")
    _fsync(descriptor)


def select_sockets(*lists):  # type: ignore[no-untyped-def]
    if _is_ours(2):
        raise OSError("An operation was attempted on something that is not a socket")
    return _select(*lists)


def kill_whatever_the_signal(process, number):  # type: ignore[no-untyped-def]
    if _is_ours(2) and not number:
        raise AssertionError("os.kill(process, 0) would end the process")
    _kill(process, number)


builtins.__import__ = without_modules
builtins.open = io.open = open_elsewhere
os.open, os.fsync, os.kill, select.select = (
    *(open_no_folder, flush_what_is_written),
    *(kill_whatever_the_signal, select_sockets),
)
