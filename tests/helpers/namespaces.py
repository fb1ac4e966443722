"""Two "hosts" on one machine: network namespaces joined by a virtual cable (Linux, root)."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

ADDRESSES = '10.77.0.1', '10.77.0.2'
_PREFIX = 'snjax-test'
_ETC = Path('/etc/netns')


def why_not() -> str:
    """Returns why network namespaces cannot be made here; empty if they can."""
    if not shutil.which('ip'):
        return 'network namespaces need ip: apt-get install iproute2'
    name = f'{_PREFIX}-{os.getpid()}-try'
    made = subprocess.run(['ip', 'netns', 'add', name], capture_output=True, text=True)
    if made.returncode:
        return f'network namespaces cannot be made here: {" ".join(made.stderr.split())}'
    _ip('netns', 'del', name)
    return ''


class Host:
    """One of the two hosts.

    Attributes:
        address: its IP address, which the other host reaches.
        command: prefix of a command that runs on it.
    """

    def __init__(self, name: str, address: str):
        self.name, self.address = name, address
        self.command = ('ip', 'netns', 'exec', name)

    def unplug(self) -> None:
        """Cuts the cable: packets are lost without an error."""
        _ip('-n', self.name, 'link', 'set', 'cable', 'down')

    def plug_in(self) -> None:
        _ip('-n', self.name, 'link', 'set', 'cable', 'up')


@contextlib.contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """Makes both hosts; at the end kills their processes and removes them.

    Also removes the hosts that killed tests have left behind.
    """
    _remove_leftovers()
    names = [f'{_PREFIX}-{os.getpid()}-{i}' for i in (0, 1)]
    try:
        for name, address in zip(names, ADDRESSES, strict=True):
            _ip('netns', 'add', name)
            # Gloo listens at the address of the host's name.
            (_ETC / name).mkdir(parents=True, exist_ok=True)
            (_ETC / name / 'hosts').write_text(
                f'127.0.0.1 localhost\n{address} {socket.gethostname()}\n'
            )
        ends = [('cable', 'netns', name) for name in names]
        _ip('link', 'add', *ends[0], 'type', 'veth', 'peer', 'name', *ends[1])
        for name, address in zip(names, ADDRESSES, strict=True):
            _ip('-n', name, 'address', 'add', f'{address}/24', 'dev', 'cable')
            for device in ('lo', 'cable'):
                _ip('-n', name, 'link', 'set', device, 'up')
        yield Host(names[0], ADDRESSES[0]), Host(names[1], ADDRESSES[1])
    finally:
        for name in names:
            _remove(name)


def _remove(name):
    """Removes a namespace, its processes and its files, as far as they exist."""
    run = subprocess.run(['ip', 'netns', 'pids', name], capture_output=True, text=True)
    for pid in map(int, run.stdout.split()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    subprocess.run(['ip', '-n', name, 'link', 'del', 'cable'], capture_output=True)
    subprocess.run(['ip', 'netns', 'del', name], capture_output=True)
    shutil.rmtree(_ETC / name, ignore_errors=True)
    with contextlib.suppress(OSError):  # not empty: it was there before
        _ETC.rmdir()


def _remove_leftovers():
    listed = subprocess.run(['ip', 'netns', 'list'], capture_output=True, text=True)
    for name, pid in re.findall(rf'^({_PREFIX}-(\d+)-\w+)', listed.stdout, re.MULTILINE):
        if not Path(f'/proc/{pid}').exists():
            _remove(name)


def _ip(*arguments):
    subprocess.run(['ip', *arguments], check=True, capture_output=True, text=True)
