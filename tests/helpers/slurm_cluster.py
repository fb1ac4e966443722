"""Clusters for tests of sweeps: stand-ins for SLURM's programs, or SLURM with two nodes here.

`apt-get install slurmctld slurmd slurm-client munge` installs SLURM on Debian. A cluster that is
set up already is not touched: all files and sockets lie in a folder of the test, ports are free
ones, and there is no accounting database.
"""

import getpass
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest

from helpers import slurm_standins, sweep_worker
from helpers.launching import ROOT
from helpers.waiting import wait_until

WORKER = pathlib.Path(sweep_worker.__file__)
_DAEMONS = ('munged', 'slurmctld', 'slurmd')
_CLIENTS = ('sbatch', 'srun', 'squeue', 'scancel', 'scontrol', 'sinfo')
_STARTS_WITHIN_S, _STOPS_WITHIN_S, _TRIES = 10, 10, 3
_PORTS = range(20_000, 30_000)  # below the ephemeral ports of clients
# JobRequeue=0: a job is requeued only if it asks for it. A cancelled job has `KillWait` seconds to
# save. A requeued job starts again once its credential has expired (`cred_expire`).
_SETTINGS = """
ClusterName=snjax
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmUser={user}
SlurmdUser={user}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=0
KillWait=30
ReturnToService=1
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
NodeName={host} NodeAddr=127.0.0.1 Port={ports[0]} CPUs=4 Weight=1
NodeName={other} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4 Weight=2
PartitionName=patient Nodes=ALL Default=YES PriorityTier=1 MaxTime=60
PartitionName=urgent Nodes=ALL PriorityTier=2 MaxTime=60
"""


class Cluster:
    """Runs sweeps on SLURM; `environment` is what finds its programs and the cluster."""

    def __init__(self, environment):
        self.environment = environment
        self.processes = []

    def start(self, folder, behaviours, options=''):
        """Starts a sweep of `sweep_worker.py` in a new process."""
        process = subprocess.Popen(
            [sys.executable, str(WORKER), 'slurm', str(folder), behaviours, options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | self.environment | {'PYTHONPATH': str(ROOT), 'PYTHONUNBUFFERED': '1'},
        )
        self.processes.append(process)
        return process

    def sweep(self, *args):
        process = self.start(*args)
        out, _ = process.communicate(timeout=120)
        return process.returncode, out

    def call(self, *command, seconds=60):
        """Returns the output of one of SLURM's programs."""
        environ = os.environ | self.environment
        program = shutil.which(command[0], path=environ['PATH'])
        done = subprocess.run(
            [program, *command[1:]],
            check=True,
            env=environ,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
        return done.stdout

    def end(self):
        for process in self.processes:
            with process:
                process.kill()


class StandIns(Cluster):
    """Stand-ins for SLURM's programs on the PATH, with their state in a folder."""

    def __init__(self, folder):
        programs, self.state = folder / 'bin', folder / 'state'
        programs.mkdir(), self.state.mkdir()
        self.down = self.state / 'down'  # while it exists, the controller does not answer
        self.limit = self.state / 'limit'  # if it exists: number of jobs and arrays accepted
        slurm_standins.install(programs)
        path = f'{programs}:{os.environ["PATH"]}'
        super().__init__({'SLURM_STANDIN': str(self.state), 'PATH': path})

    def end(self):
        super().end()
        for path in self.state.glob('*/pid'):
            self.call('scancel', path.parent.name)


class Slurm(Cluster):
    """SLURM with daemons of its own; skips the test where it is missing or does not start.

    Attributes:
        nodes: names of the two nodes; jobs go to the first while it has room.
    """

    def __init__(self, folder):
        path = f'{os.environ["PATH"]}:/usr/sbin'
        missing = [
            name for name in (*_DAEMONS, *_CLIENTS, 'setpriv') if not shutil.which(name, path=path)
        ]
        if missing:
            pytest.skip(f'SLURM is not installed here: there is no {", ".join(missing)}')
        # A process with this in its environment belongs to this cluster.
        self._mark = f'SNJAX_TEST_CLUSTER={folder}'
        name, _, value = self._mark.partition('=')
        self._settings = folder / 'slurm.conf'
        super().__init__({'SLURM_CONF': str(self._settings), 'PATH': path, name: value})
        self._folder, self._daemons = folder, {}
        # The first is preferred; processes of a run resolve its name.
        self.nodes = socket.gethostname().partition('.')[0], 'other'
        for _ in range(_TRIES):
            complaint = self._begin()
            if not complaint:
                return
            self.end()
        pytest.skip(f'SLURM does not start here: {complaint}')

    def _begin(self):
        """Starts the daemons; returns the reason if one does not start, else ''."""
        folder, (host, other) = self._folder, self.nodes
        controller_port, *ports = _free_ports(3)
        about = {'host': host, 'other': other, 'user': getpass.getuser(), 'ports': ports}
        text = _SETTINGS.format(folder=folder, controller_port=controller_port, **about)
        self._settings.write_text(text)
        for name in ('state', *self.nodes):
            (folder / name).mkdir(exist_ok=True)
        key = folder / 'munge.key'
        key.unlink(missing_ok=True)
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        files = {'socket': 'socket', 'key-file': 'key', 'pid-file': 'pid', 'seed-file': 'seed'}
        options = [f'--{option}={folder}/munge.{end}' for option, end in files.items()]
        self._daemon('munged', '--foreground', '--force', *options)
        if not self._comes('munged', (folder / 'munge.socket').exists):
            return self._last_words('munged')
        self._daemon('slurmctld', '-D')
        # A node that starts before its controller registers late.
        if self._comes('slurmctld', lambda: self._nodes('all')):
            for node in self.nodes:
                self._daemon('slurmd', '-D', '-N', node, name=node, SLURMD_NODENAME=node)
            if self._comes('slurmctld', lambda: self._nodes('idle') == set(self.nodes)):
                return ''
        return '; '.join(map(self._last_words, list(self._daemons)[1:]))

    def _daemon(self, *command, name='', **environment):
        """Starts a daemon that ends with this process, even if it is killed."""
        name = name or command[0]
        with open(self._folder / f'{name}.log', 'ab') as log:
            self._daemons[name] = subprocess.Popen(
                ['setpriv', '--pdeathsig', 'TERM', *command],
                env=os.environ | self.environment | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _comes(self, name, condition):
        """Whether `condition` becomes true in time, while the daemon lives."""
        daemon = self._daemons[name]
        return wait_until(condition, daemon, seconds=_STARTS_WITHIN_S, interval=0.1)

    def _last_words(self, name):
        lines = (self._folder / f'{name}.log').read_text().splitlines()
        return f'{name}: {next((x for x in reversed(lines) if "fatal" in x), lines[-1:])}'

    def _nodes(self, state):
        options = '--Node', '--noheader', f'--states={state}', '--format=%N'
        try:
            return set(self.call('sinfo', *options, seconds=_STARTS_WITHIN_S).split())
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            return set()

    def lose(self, node):
        """Kills a node and all that runs on it."""
        self.kill_processes(lambda environ: f'SLURMD_NODENAME={node}'.encode() in environ)
        daemon = self._daemons.pop(node)
        daemon.kill()
        daemon.wait()
        self.call('scontrol', 'update', f'node={node}', 'state=down', 'reason=lost')

    def kill_processes(self, which=lambda environ: True):
        """Kills processes that this cluster has started and whose environment satisfies `which`."""
        for path in pathlib.Path('/proc').glob('[0-9]*/environ'):
            try:
                environ = path.read_bytes().split(b'\0')
                if self._mark.encode() in environ and which(environ):
                    os.kill(int(path.parent.name), signal.SIGKILL)
            except OSError:
                continue

    def end(self):
        super().end()
        for daemon in self._daemons.values():
            daemon.terminate()
        deadline = time.monotonic() + _STOPS_WITHIN_S
        for daemon in self._daemons.values():
            try:
                daemon.wait(max(0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()
        self._daemons.clear()
        self.kill_processes()


def _free_ports(num):
    found = []
    while len(found) < num:
        port = random.choice(_PORTS)
        with socket.socket() as tried:
            if port not in found and tried.connect_ex(('127.0.0.1', port)):
                found.append(port)
    return found
