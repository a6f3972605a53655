"""The system calls that generated code cannot make."""

from __future__ import annotations

import errno
import functools
import os
import socket

from paceline.errors import EvaluationError

# Ways into the kernel or into other processes, which no honest answer needs.
_PRIVILEGED = """
    acct add_key bpf chroot clock_adjtime clock_settime delete_module fanotify_init finit_module fsconfig
    fsmount fsopen fspick init_module io_uring_enter io_uring_register io_uring_setup kcmp kexec_file_load
    kexec_load keyctl mbind migrate_pages mount mount_setattr move_mount move_pages name_to_handle_at
    open_by_handle_at open_tree perf_event_open pidfd_getfd pivot_root process_madvise process_vm_readv
    process_vm_writev ptrace quotactl reboot request_key set_mempolicy setdomainname sethostname setns
    settimeofday swapoff swapon syslog umount2 unshare userfaultfd vhangup
"""
# Memory that belongs to no process and to no folder, so that nobody outside can count it.
_UNCOUNTED = "memfd_create memfd_secret mq_open msgget semget shmget socket vmsplice"
# A session of its own may get a share of the cores of its own, and many would starve what watches them.
_STARVING = "setsid sched_setattr sched_setscheduler"
# Which argument holds them.
_MAP_FLAGS = 3
_OPTION = 2
_SHARED_ANONYMOUS = 0x01 | 0x20
# Namespaces of one's own: mount, cgroup, uts, ipc, user, pid, net.
_NEW_NAMESPACES = (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000)


@functools.cache
def _program() -> bytes:
    """The filter as the kernel takes it.

    Raises:
        EvaluationError: libseccomp is missing, or too old to know these calls.
    """
    try:
        import pyseccomp as seccomp
    except (ImportError, OSError, RuntimeError) as error:
        raise EvaluationError(
            "generated code runs under a filter of system calls only, and libseccomp is missing; "
            "install it (Debian, Ubuntu: apt-get install libseccomp2), or leave out eval.code"
        ) from error
    rules = seccomp.SyscallFilter(seccomp.ALLOW)
    refuse = seccomp.ERRNO(errno.EPERM)
    try:
        for name in f"{_PRIVILEGED} {_UNCOUNTED} {_STARVING}".split():
            rules.add_rule(refuse, name)
        # its flags lie in memory, where no filter sees them; without it libraries use clone
        rules.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")
        for flag in _NEW_NAMESPACES:
            rules.add_rule(refuse, "clone", seccomp.Arg(0, seccomp.MASKED_EQ, flag, flag))
        shared = seccomp.Arg(_MAP_FLAGS, seccomp.MASKED_EQ, _SHARED_ANONYMOUS, _SHARED_ANONYMOUS)
        rules.add_rule(refuse, "mmap", shared)
        larger = seccomp.Arg(_OPTION, seccomp.EQ, socket.SO_SNDBUF)
        rules.add_rule(refuse, "setsockopt", larger)
    except OSError as error:
        raise EvaluationError(
            f"the filter of system calls cannot be made ({error}); libseccomp 2.5.2 or later is needed"
        ) from error
    with open(os.memfd_create("filter"), "w+b") as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()


def filter_file() -> int:
    """A new descriptor to read the filter from; the caller closes it."""
    descriptor = os.memfd_create("filter")
    os.write(descriptor, _program())
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
