"""Stand-ins for SLURM's programs on one machine: sbatch, srun, squeue, scancel and scontrol.

The first argument names the program. They support what submitit needs: arrays with a limit, tasks,
signals and requeueing. $SLURM_STANDIN holds one folder per job and index, with the files `state`,
`pid` (of the process group), and `requeue` while the job is to be requeued.
"""

import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(os.environ.get('SLURM_STANDIN', ''))
TERMINAL = ('COMPLETED', 'FAILED', 'CANCELLED')


def sbatch(script):
    text = pathlib.Path(script).read_text()
    options = dict(re.findall(r'^#SBATCH --([\w-]+)=(.*)$', text, re.MULTILINE))
    _answer()
    if options.get('partition') == 'nope':
        sys.exit('sbatch: error: invalid partition specified: nope')
    number = str(1 + len(list(ROOT.glob('*.sh'))))
    limit = ROOT / 'limit'
    if limit.exists() and int(number) > int(limit.read_text()):
        sys.exit('sbatch: error: Job violates accounting/QOS policy')
    (ROOT / f'{number}.sh').write_text(text)
    (ROOT / f'{number}.options').write_text('\n'.join(f'{k}={v}' for k, v in options.items()))
    indices, limit = [''], 1
    if 'array' in options:
        last, limit = map(int, re.fullmatch(r'0-(\d+)%(\d+)', options['array'].strip("'")).groups())
        indices = [str(i) for i in range(last + 1)]
    for index in indices:
        _state(number, index, 'PENDING')
    command = [sys.executable, __file__, 'supervise', number, str(limit), *indices]
    nothing = subprocess.DEVNULL  # the caller waits until all its pipes are closed
    subprocess.Popen(command, start_new_session=True, stdin=nothing, stdout=nothing, stderr=nothing)
    print(f'Submitted batch job {number}')


def supervise(number, limit, *indices):
    """SLURM's controller: runs the indices, `limit` at a time, and requeued ones again."""
    waiting, running = list(indices), {}
    while waiting or running:
        while waiting and len(running) < int(limit):
            index = waiting.pop(0)
            if _read(number, index) == 'PENDING':
                running[index] = _start(number, index)
        for index, process in list(running.items()):
            if process.poll() is not None:
                del running[index]
                folder = _folder(number, index)
                if (folder / 'requeue').exists():
                    (folder / 'requeue').unlink()
                    _state(number, index, 'PENDING')
                    waiting.append(index)
                elif _read(number, index) == 'RUNNING':
                    _state(number, index, 'FAILED' if process.returncode else 'COMPLETED')
        time.sleep(0.05)


def _start(number, index):
    options = dict(
        line.split('=', 1) for line in (ROOT / f'{number}.options').read_text().split('\n')
    )
    tasks = int(options.get('nodes', 1)) * int(options.get('ntasks-per-node', 1))
    variables = {
        'SLURM_JOB_ID': number,
        'SLURM_NTASKS': str(tasks),
        'SLURM_JOB_NUM_NODES': options.get('nodes', '1'),
        'SLURM_STEP_NODELIST': 'localhost',
        'SLURM_JOB_NODELIST': 'localhost',
    }
    if index:
        variables |= {'SLURM_ARRAY_JOB_ID': number, 'SLURM_ARRAY_TASK_ID': index}
    _state(number, index, 'RUNNING')
    process = subprocess.Popen(
        ['bash', str(ROOT / f'{number}.sh')], env=os.environ | variables, start_new_session=True
    )
    (_folder(number, index) / 'pid').write_text(str(process.pid))
    return process


def srun(*arguments):
    arguments, files = list(arguments), {}
    while arguments[0].startswith('--'):
        option = arguments.pop(0)
        if option in ('--output', '--error'):
            files[option] = arguments.pop(0)
    names = {'%A': 'SLURM_ARRAY_JOB_ID', '%a': 'SLURM_ARRAY_TASK_ID', '%j': 'SLURM_JOB_ID'}
    # srun ignores signals to the whole job: its tasks receive them directly.
    for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGCONT):
        signal.signal(number, lambda *_: None)
    processes = []
    for rank in range(int(os.environ['SLURM_NTASKS'])):
        streams = {}
        for option, stream in (('--output', 'stdout'), ('--error', 'stderr')):
            path = files[option].replace('%t', str(rank))
            for mark, variable in names.items():
                path = path.replace(mark, os.environ.get(variable, ''))
            streams[stream] = open(path, 'ab')
        rank_variables = {
            'SLURM_PROCID': str(rank),
            'SLURM_LOCALID': str(rank),
            'SLURM_NODEID': '0',
        }
        processes.append(subprocess.Popen(arguments, env=os.environ | rank_variables, **streams))
    sys.exit(max(abs(process.wait()) for process in processes))


def squeue(*arguments):
    """Lists all jobs; a job that is being requeued is not over."""
    _answer()
    assert set(arguments) >= {'--array', '--states=all', '--noheader', '--format=%i|%T'}
    for path in sorted(ROOT.glob('*/state')):
        state = path.read_text()
        requeued = (path.parent / 'requeue').exists()
        print(f'{path.parent.name}|{"COMPLETING" if requeued else state}')


def scancel(*arguments):
    job = arguments[-1]
    number, _, index = job.partition('_')
    name = ''.join(a.removeprefix('--signal=') for a in arguments[:-1])
    if name:
        _signal(number, index, signal.Signals[f'SIG{name}'])
    elif _read(number, index) not in TERMINAL:
        _state(number, index, 'CANCELLED')
        _signal(number, index, signal.SIGTERM)


def scontrol(verb, job):
    assert verb == 'requeue'
    number, _, index = job.partition('_')
    (_folder(number, index) / 'requeue').touch()
    _signal(number, index, signal.SIGTERM)


def _answer():
    if (ROOT / 'down').exists():
        sys.exit('slurm_load_jobs error: Unable to contact slurm controller (connect failure)')


def _signal(number, index, which):
    """Signals all processes of the job, as SLURM does, except the shell of its script."""
    path = _folder(number, index) / 'pid'
    if not path.exists():
        return
    group = int(path.read_text())
    for status in pathlib.Path('/proc').glob('[0-9]*/stat'):
        try:
            fields = status.read_text().rpartition(')')[2].split()
            process = int(status.parent.name)
            # Not this process: SLURM's programs may be called inside the job.
            if int(fields[3]) == group and process not in (group, os.getpid()):
                os.kill(process, which)
        except (OSError, IndexError):
            continue


def _folder(number, index):
    folder = ROOT / '_'.join(filter(None, [number, index]))
    folder.mkdir(exist_ok=True)
    return folder


def _state(number, index, state):
    (_folder(number, index) / 'state').write_text(state)


def _read(number, index):
    return (_folder(number, index) / 'state').read_text()


COMMANDS = {f.__name__: f for f in (sbatch, supervise, srun, squeue, scancel, scontrol)}


def install(folder):
    """Writes the programs to `folder`, which the PATH can name."""
    for name in COMMANDS:
        program = folder / name
        command = shlex.join([sys.executable, __file__, name])
        program.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        program.chmod(0o755)


if __name__ == '__main__':
    COMMANDS[sys.argv[1]](*sys.argv[2:])
