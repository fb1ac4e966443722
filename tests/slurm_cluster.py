"""Clusters for tests of sweeps on SLURM: stand-ins for its programs, or SLURM itself, with two nodes on one machine.

Debian's packages will do (`apt-get install slurmctld slurmd slurm-client munge`); nothing of theirs that is set up
already is touched. All files and sockets lie in a folder of the test's, ports are free ones, and there is no database.
"""

import getpass
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
import slurm_standins
import sweep_worker
from launching import ROOT

WORKER = pathlib.Path(sweep_worker.__file__)
_DAEMONS = ('munged', 'slurmctld', 'slurmd')
_CLIENTS = ('sbatch', 'srun', 'squeue', 'scancel', 'scontrol', 'sinfo')
_STARTS_WITHIN_S, _STOPS_WITHIN_S = 20, 10
# Jobs may go back to the queue only if they ask for it, a job that is not wanted any more has `KillWait` to save, and
# one that goes back is started again when its credential has run out.
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
    """Sweeps on SLURM. `environment` is what its programs need to be called and to find it."""

    def __init__(self, environment):
        self.environment = environment
        self.processes = []

    def start(self, folder, behaviours, options=''):
        """A sweep of `sweep_worker.py` in a process of its own."""
        process = subprocess.Popen(
            [sys.executable, str(WORKER), 'slurm', str(folder), behaviours, options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | self.environment | {'PYTHONPATH': str(ROOT)},
        )
        self.processes.append(process)
        return process

    def sweep(self, *args):
        process = self.start(*args)
        out, _ = process.communicate(timeout=120)
        return process.returncode, out

    def call(self, *command):
        """What one of SLURM's programs says."""
        environ = os.environ | self.environment
        program = shutil.which(command[0], path=environ['PATH'])
        done = subprocess.run(
            [program, *command[1:]], check=True, env=environ, stdout=subprocess.PIPE, text=True
        )
        return done.stdout

    def end(self):
        for process in self.processes:
            with process:
                process.kill()


class StandIns(Cluster):
    """Stand-ins on the PATH, with their state in a folder of its own."""

    def __init__(self, folder):
        programs, self.state = folder / 'bin', folder / 'state'
        programs.mkdir(), self.state.mkdir()
        self.down = self.state / 'down'  # where it is, the controller does not answer
        slurm_standins.install(programs)
        path = f'{programs}:{os.environ["PATH"]}'
        super().__init__({'SLURM_STANDIN': str(self.state), 'PATH': path})

    def end(self):
        super().end()
        for path in self.state.glob('*/pid'):
            self.call('scancel', path.parent.name)


class Slurm(Cluster):
    """SLURM itself. The first of `nodes` is preferred, and has this machine's name, so that addresses are found."""

    def __init__(self, folder):
        path = f'{os.environ["PATH"]}:/usr/sbin'
        missing = [
            name for name in (*_DAEMONS, *_CLIENTS, 'setpriv') if not shutil.which(name, path=path)
        ]
        if missing:
            pytest.skip(f'SLURM is not installed here: there is no {", ".join(missing)}')
        # Whatever has it in its environment belongs to this cluster.
        self._mark = f'SNJAX_TEST_CLUSTER={folder}'
        name, _, value = self._mark.partition('=')
        settings = folder / 'slurm.conf'
        super().__init__({'SLURM_CONF': str(settings), 'PATH': path, name: value})
        self._folder, self._daemons = folder, {}
        host = socket.gethostname().partition('.')[0]
        self.nodes = host, 'other'
        controller_port, *ports = _free_ports(3)
        about = {'host': host, 'other': 'other', 'user': getpass.getuser(), 'ports': ports}
        text = _SETTINGS.format(folder=folder, controller_port=controller_port, **about)
        settings.write_text(text)
        self._begin()

    def _begin(self):
        """Starts the daemons; where one does not, the test is skipped with what it had to say."""
        folder = self._folder
        (folder / 'state').mkdir()
        key = folder / 'munge.key'
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        files = {'socket': 'socket', 'key-file': 'key', 'pid-file': 'pid', 'seed-file': 'seed'}
        options = [f'--{option}={folder}/munge.{end}' for option, end in files.items()]
        self._daemon('munged', '--foreground', '--force', *options)
        self._expect('munged', (folder / 'munge.socket').exists)
        self._daemon('slurmctld', '-D')
        # A node that comes before its controller comes back late.
        self._expect('slurmctld', lambda: self._nodes('all'))
        for node in self.nodes:
            (folder / node).mkdir()
            self._daemon('slurmd', '-D', '-N', node, name=node, SLURMD_NODENAME=node)
        self._expect('slurmctld', lambda: self._nodes('idle') == set(self.nodes))

    def _daemon(self, *command, name='', **environment):
        """One that goes when this process does, whatever becomes of it."""
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

    def _expect(self, name, condition):
        deadline = time.monotonic() + _STARTS_WITHIN_S
        while not condition():
            if self._daemons[name].poll() is not None or time.monotonic() > deadline:
                said = (self._folder / f'{name}.log').read_text().splitlines()[-3:]
                self.end()
                pytest.skip(f'SLURM does not start here: {name}: {"; ".join(said)}')
            time.sleep(0.1)

    def _nodes(self, state):
        options = '--Node', '--noheader', f'--states={state}', '--format=%N'
        try:
            return set(self.call('sinfo', *options).split())
        except subprocess.CalledProcessError:
            return set()

    def lose(self, node):
        """A node is gone with all that ran on it."""
        self.kill_processes(lambda environ: f'SLURMD_NODENAME={node}'.encode() in environ)
        daemon = self._daemons.pop(node)
        daemon.kill()
        daemon.wait()
        self.call('scontrol', 'update', f'node={node}', 'state=down', 'reason=lost')

    def kill_processes(self, which=lambda environ: True):
        """Of those that this cluster has started, and that are not a test's own."""
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
        self.kill_processes()


def _free_ports(num):
    sockets = [socket.socket() for _ in range(num)]
    try:
        for one in sockets:
            one.bind(('127.0.0.1', 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


_CLUSTERS = {'stand-ins': StandIns, 'slurm': Slurm}


@pytest.fixture(params=['stand-ins', pytest.param('slurm', marks=pytest.mark.slow)])
def cluster(request, tmp_path_factory):
    made = _CLUSTERS[request.param](tmp_path_factory.mktemp('cluster'))
    yield made
    made.end()


@pytest.fixture
def stand_ins(tmp_path_factory):
    made = StandIns(tmp_path_factory.mktemp('cluster'))
    yield made
    made.end()


@pytest.fixture
def slurm_itself(tmp_path_factory):
    made = Slurm(tmp_path_factory.mktemp('cluster'))
    yield made
    made.end()
