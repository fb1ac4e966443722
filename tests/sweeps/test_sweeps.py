"""Tests of snjax/sweeps: definitions, identities, the journal, slots, and the engine, whose runs are over at once."""

import contextlib
import fcntl
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest

from helpers import sweep_worker
from helpers.launching import ROOT
from snjax.runs.resume import WorkdirLock, lock_holder
from snjax.sweeps import board, journal, runs, slots, table
from snjax.sweeps import definition as h
from snjax.sweeps.board import SweepState
from snjax.sweeps.journal import Journal, State
from snjax.sweeps.watch import Watcher, last_lines, newest_checkpoint

# ---- definition


def test_product_is_everything_with_everything_and_the_last_key_changes_fastest():
    assert h.product({'a': [1, 2], 'b': ['x', 'y']}, [{'c': 0, 'd': 0}, {'c': 1}]) == [
        {'a': 1, 'b': 'x', 'c': 0, 'd': 0},
        {'a': 1, 'b': 'x', 'c': 1},
        {'a': 1, 'b': 'y', 'c': 0, 'd': 0},
        {'a': 1, 'b': 'y', 'c': 1},
        {'a': 2, 'b': 'x', 'c': 0, 'd': 0},
        {'a': 2, 'b': 'x', 'c': 1},
        {'a': 2, 'b': 'y', 'c': 0, 'd': 0},
        {'a': 2, 'b': 'y', 'c': 1},
    ]


def test_zipped_and_chain():
    zipped = h.zipped({'a': [1, 2], 'b': [3, 4]}, [{'c': 5}, {'c': 6}])
    assert zipped == [{'a': 1, 'b': 3, 'c': 5}, {'a': 2, 'b': 4, 'c': 6}]
    assert h.chain(zipped, ({'a': n} for n in (7, 8))) == [*zipped, {'a': 7}, {'a': 8}]


def test_samples_lie_in_their_ranges_and_do_not_depend_on_their_number_or_each_other():
    ranges = {
        'lr': h.log_uniform(1e-5, 1e-1),
        'x': h.uniform(-2.0, 3.0),
        'n': h.integers(1, 3),
        'k': h.choice(['p', 'q']),
    }
    drawn = h.sample(ranges, 300, seed=1)
    assert drawn[:5] == h.sample(ranges, 5, seed=1) != h.sample(ranges, 5, seed=2)
    assert [d['lr'] for d in drawn] == [d['lr'] for d in h.sample({'lr': ranges['lr']}, 300, 1)]
    assert {d['n'] for d in drawn} == {1, 2, 3} and {d['k'] for d in drawn} == {'p', 'q'}
    xs, lrs = sorted(d['x'] for d in drawn), sorted(d['lr'] for d in drawn)
    assert -2 <= xs[0] < -1.9 and 2.9 < xs[-1] <= 3 and abs(xs[150] - 0.5) < 0.5
    assert 1e-5 <= lrs[0] < 2e-5 and 5e-2 < lrs[-1] <= 1e-1 and 3e-4 < lrs[150] < 3e-3
    assert all(len(re.sub(r'e.*|[-.]', '', f'{x:g}').lstrip('0')) <= 4 for x in xs + lrs)
    # The same on every machine and version: a sweep is its seed.
    assert h.sample(ranges, 2, seed=0) == FIRST_SAMPLES


FIRST_SAMPLES = [
    {'lr': 0.001277, 'x': 2.592, 'n': 2, 'k': 'q'},
    {'lr': 0.0001032, 'x': 0.3878, 'n': 1, 'k': 'p'},
]


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda: h.product({'a': [1]}, {'a': [2]}), 'a is given twice, as 1 and 2'),
        (lambda: h.product({'a': 'xy'}), "a: 'xy' is no list of values; write ['xy']"),
        (lambda: h.product({'a': 3}), 'write [3]'),
        (lambda: h.zipped({'a': [1, 2], 'b': [3]}), '2 of a, 1 of b; equally many'),
        (lambda: h.sample({'a': h.uniform(0, 1)}, 0), 'num is 0'),
        (lambda: h.uniform(1, 1), 'from 1 to 1'),
        (lambda: h.log_uniform(0, 1), 'low is 0'),
        (lambda: h.integers(3, 2), 'integers: from 3'),
        (lambda: h.choice([]), 'nothing to choose'),
        (lambda: h.checked(None), 'get_sweep returned None'),
        (lambda: h.checked([]), 'no items'),
        (lambda: h.checked([{'a': [1, 2]}]), 'a is [1, 2]; numbers, strings'),
        (lambda: h.checked([{3: 1}]), 'the key 3'),
    ],
)
def test_what_is_no_sweep_is_named_in_one_line(own_errors, make, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        make()
    assert '\n' not in str(error.value)


def test_flags_are_what_the_command_line_reads():
    np = pytest.importorskip('numpy')
    (item,) = h.checked([{'config': 'c.py:a,b', 'lr': np.float64(2e-4), 'n': np.int64(3)}])
    assert item == {'config': 'c.py:a,b', 'lr': 2e-4, 'n': 3} and type(item['lr']) is float
    item |= {'small': 1e-8, 'flip': True, 'off': False, 'name': 'a b'}
    assert h.flags(item) == [
        '--config.lr=0.0002',
        '--config.n=3',
        '--config.small=1e-08',
        '--config.flip=true',
        '--config.off=false',
        '--config.name=a b',
    ]


# ---- runs


def config(**changes):
    return {'seed': 0, 'num_steps': 10, 'data': {'name': 'digits', 'data_dir': ''}} | changes


def test_a_run_is_its_config_and_not_where_its_data_lie():
    same = config(data={'data_dir': '/elsewhere', 'name': 'digits'})
    assert runs.identity(config()) == runs.identity(same)
    others = [config(seed=1), config(num_steps=20), config(data={'name': 'stl10'})]
    ids = [runs.identity(config()), *map(runs.identity, others), runs.identity(config(), 'sample')]
    assert len(set(ids)) == 5
    assert all(re.fullmatch('[0-9a-f]{10}', id_) for id_ in ids)


def test_names_say_what_differs_and_a_folder_keeps_its_name(tmp_path):
    file = 'configs/x.py:m/n,A'
    items = [{'config': file, 'optimizer.lr': lr, 'seed': 0, 'n': 1} for lr in (1e-3, 0.1)]
    configs = [config(lr=lr) for lr in (1e-3, 0.1)]
    first, second = runs.make(items, configs, tmp_path)
    assert first.name == f'lr=0.001-{runs.identity(configs[0])}'
    first.workdir(tmp_path).mkdir(parents=True)
    # The definition grows, and is turned round.
    more = [
        {'config': file, 'optimizer.lr': lr, 'seed': s, 'n': 1}
        for s in (1, 0)
        for lr in (0.1, 1e-3)
    ]
    grown = runs.make(more, [config(lr=i['optimizer.lr'], seed=i['seed']) for i in more], tmp_path)
    assert grown[3].name == first.name and grown[3].id == first.id
    assert grown[2].id == second.id and grown[2].name == f'lr=0.1,seed=0-{second.id}'
    others = [{'config': file}, {'config': 'configs/y.py'}]
    names = [r.name for r in runs.make(others, [config(n=1), config(n=2)], tmp_path)]
    assert [name[:-11] for name in names] == ['x_m_n,A', 'y']


def test_equal_configs_are_one_run(tmp_path):
    made = runs.make([{'config': 'a'}, {'config': 'b'}], [config(), config()], tmp_path)
    assert [run.item['config'] for run in made] == ['a']


# ---- journal


def test_a_journal_outlives_a_line_that_was_cut_short(tmp_path):
    path = tmp_path / 'journal.jsonl'
    with Journal(path) as opened:
        opened.append('a', State.RUNNING, slot='CPU 0')
        opened.append('a', State.FINISHED, code=0)
    whole = path.read_bytes()
    for cut in range(1, 40):
        path.write_bytes(whole + whole[:cut].replace(b'\n', b''))
        assert [line['state'] for line in journal.read(path)] == ['running', 'finished']
    with Journal(path) as opened:
        opened.append('b', State.CRASHED, code=1)
    assert path.read_bytes().startswith(whole)
    assert [(x['run'], x['state']) for x in journal.read(path)][1:] == [
        ('a', 'finished'),
        ('b', 'crashed'),
    ]


@pytest.mark.parametrize('bad', ['{"run": "a"', '[]', '{"run": "a", "state": "lost"}'])
def test_other_damage_to_a_journal_is_named(tmp_path, bad):
    path = tmp_path / 'journal.jsonl'
    path.write_text(f'{{"run": "a", "state": "running"}}\n{bad}\n{{"run": "b"}}\n')
    with pytest.raises(ValueError, match='line 2 is damaged'):
        journal.read(path)


# ---- slots


def test_cores_are_divided_equally():
    three = slots.core_slots(3, [0, 1, 2, 3, 8, 9, 10])
    assert [slot.cores for slot in three] == [(0, 1), (2, 3), (8, 9)]
    assert {slot.environment['OMP_NUM_THREADS'] for slot in three} == {'2'}
    for num in (-1, 8):
        with pytest.raises(ValueError, match=f'--slots={num}: 1 to 7'):
            slots.core_slots(num, range(7))


@pytest.mark.parametrize(
    ('num', 'expected'),
    [
        (1, [('GPU 0,1,2,3', '0,1,2,3', None)]),
        (2, [('GPU 0,1', '0,1', None), ('GPU 2,3', '2,3', None)]),
        (4, [(f'GPU {i}', str(i), None) for i in range(4)]),
        (8, [(f'GPU {i} {k}/2', str(i), '0.450') for k in (1, 2) for i in range(4)]),
    ],
)
def test_gpus_are_whole_or_shared_by_memory(num, expected):
    found = [
        (
            s.name,
            s.environment['CUDA_VISIBLE_DEVICES'],
            s.environment.get('XLA_PYTHON_CLIENT_MEM_FRACTION'),
        )
        for s in slots.gpu_slots(num, ['0', '1', '2', '3'])
    ]
    assert found == expected


def test_unequal_shares_of_gpus_are_refused():
    with pytest.raises(ValueError, match='4 GPUs are shared equally by 1, 2, 4, 8 or another'):
        slots.gpu_slots(3, ['0', '1', '2', '3'])


def test_gpus_are_found_without_jax(tmp_path):
    """As the environment says, or as nvidia-smi does, which here is a stand-in on the PATH."""
    smi = tmp_path / 'nvidia-smi'
    smi.write_text('#!/bin/sh\nprintf "0\\n1\\n"\n')
    smi.chmod(0o755)
    path = os.environ['PATH']
    assert slots.find_gpus({'CUDA_VISIBLE_DEVICES': '2, GPU-5a'}) == ['2', 'GPU-5a']
    assert slots.find_gpus({'CUDA_VISIBLE_DEVICES': ''}) == []
    assert slots.find_gpus({'CUDA_VISIBLE_DEVICES': '-1'}) == []
    code = 'from snjax.sweeps import slots; print([s.name for s in slots.find()])'

    def found(**env):
        clean = {k: v for k, v in os.environ.items() if k != 'CUDA_VISIBLE_DEVICES'}
        out = subprocess.run(
            [sys.executable, '-c', code], env=clean | env, cwd=ROOT, capture_output=True, text=True
        )
        return out.stdout.strip()

    assert found(PATH=f'{tmp_path}:{path}') == "['GPU 0', 'GPU 1']"
    assert found(PATH=f'{tmp_path}:{path}', JAX_PLATFORMS='cpu').startswith("['CPU ")
    smi.write_text('#!/bin/sh\necho "No devices were found"; exit 6\n')
    assert found(PATH=f'{tmp_path}:{path}').startswith("['CPU ")


def test_slurms_variables_are_not_for_the_runs():
    slot = slots.Slot('x', {'CUDA_VISIBLE_DEVICES': '3'})
    given = {'SLURM_JOB_ID': '7', 'SLURM_PROCID': '0', 'HOME': '/h', 'CUDA_VISIBLE_DEVICES': '0'}
    assert slots.environment(slot, given) == {'HOME': '/h', 'CUDA_VISIBLE_DEVICES': '3'}


# ---- watch


def test_a_watcher_follows_a_file_that_grows_and_is_cut(tmp_path):
    lines = tmp_path / 'metrics.jsonl'
    watcher = Watcher(tmp_path)
    watcher.look()
    assert (watcher.step, watcher.rate, watcher.score()) == (0, None, None)
    first = '{"step": 10, "perf/steps_per_s": 2.5}\n'
    lines.write_text(first + '{"step": 20, "perf/ste')
    watcher.look()
    assert (watcher.step, watcher.rate) == (10, 2.5)
    with open(lines, 'a') as file:
        file.write('ps_per_s": 4}\n{"step": 20, "eval/frechet_distance": 7.5, "eval/a/b": 1}\n')
    watcher.look()
    assert (watcher.step, watcher.rate, watcher.scores) == (20, 4, {'frechet_distance': 7.5})
    lines.write_text(first)  # a resumed run cuts what it will do again
    watcher.look()
    assert watcher.step == 10


def test_checkpoints_and_last_lines(tmp_path):
    assert newest_checkpoint(tmp_path) == 0
    for name in ('80', '100', '120.orbax-checkpoint-tmp-1'):
        (tmp_path / 'checkpoints' / name).mkdir(parents=True)
    assert newest_checkpoint(tmp_path) == 100
    log = tmp_path / 'log'
    assert last_lines(log) == []
    log.write_text('before\n' * 2000 + '\none\n\ntwo\n')
    assert last_lines(log, 2) == ['one', 'two']
    assert last_lines(log, 3, since=len('before\n') * 2000) == ['one', 'two']


# ---- the engine


_processes: list[subprocess.Popen] = []


@pytest.fixture(autouse=True)
def _no_process_stays():
    yield
    while _processes:
        with _processes.pop() as process:
            process.kill()


def start(folder, *behaviours, retries=2, **env):
    """A sweep of such runs in a process of its own."""
    worker = pathlib.Path(sweep_worker.__file__)
    process = subprocess.Popen(
        [sys.executable, str(worker), 'sweep', str(folder), ','.join(behaviours), str(retries)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | env,
    )
    _processes.append(process)
    return process


def sweep(folder, *behaviours, **options):
    """Its exit code and output."""
    process = start(folder, *behaviours, **options)
    out, err = process.communicate(timeout=60)
    assert err == ''
    return process.returncode, out


def summary(folder):
    """`sweep.json` by behaviour."""
    found = json.loads((folder / 'sweep.json').read_text())
    return {run['overrides']['behaviour']: run for run in found['runs']}


def starts(folder, behaviour):
    path = folder / summary(folder)[behaviour]['workdir'] / 'started.jsonl'
    return [json.loads(line) for line in path.read_text().splitlines()]


ENDS = {  # behaviour: state, attempts
    'finish': ('finished', 1),
    'diverge': ('diverged', 1),
    'refuse': ('refused', 1),
    'crash': ('crashed', 3),
    'crash_once': ('finished', 2),
    'killed_but_gets_further': ('finished', 5),
    'preempted_once': ('finished', 2),
}


@pytest.fixture(scope='module')
def ended(tmp_path_factory):
    folder = tmp_path_factory.mktemp('sweep')
    return folder, *sweep(folder, *ENDS, SLURM_JOB_ID='7')


def test_every_end_has_its_consequence_and_the_others_go_on(ended):
    folder, code, _ = ended
    assert code == 0
    found = summary(folder)
    assert {name: (r['state'], r['attempts']) for name, r in found.items()} == ENDS
    assert {name: len(starts(folder, name)) for name in ENDS} == {
        n: a for n, (_, a) in ENDS.items()
    }
    assert found['finish']['step'] == found['finish']['num_steps'] == sweep_worker.NUM_STEPS
    assert found['finish']['scores'] == {'frechet_distance': 0.01}
    assert found['diverge']['note'] == 'diverged by step 7: dis_loss = nan'
    assert found['refuse']['note'] == 'no such data'
    assert found['crash']['note'] == 'RuntimeError: attempt 3 failed'


def test_what_happens_is_said_and_the_last_lines_of_a_crash_are_shown(ended):
    _, _, out = ended
    assert re.search(r'^behaviour=finish-\w+: starts on first$', out, re.MULTILINE)
    assert re.search(r'^behaviour=diverge-\w+: diverged: diverged by step 7', out, re.MULTILINE)
    assert re.search(r'^behaviour=killed\w+-\w+: goes on from step 30 on ', out, re.MULTILINE)
    assert re.search(r'^behaviour=killed\w+-\w+: interrupted: ended by SIGKILL$', out, re.MULTILINE)
    assert re.search(r'^behaviour=crash-\w+: given up after 3 ends at step 0', out, re.MULTILINE)
    # Each attempt's own lines, once.
    assert out.count('    RuntimeError: attempt 2 failed') == 1
    assert re.search(r'^behaviour=finish +finished +100/100 +5.0 +0.01', out, re.MULTILINE)


def test_runs_have_the_cores_and_the_environment_of_their_slot(ended):
    folder, _, _ = ended
    seen = set()
    for name in ENDS:
        for line in starts(folder, name):
            place = line['environment']['PLACE']
            seen.add(place)
            assert line['cores'] == ([0] if place == '1' else sorted(os.sched_getaffinity(0)))
            assert not [key for key in line['environment'] if key.startswith('SLURM_')]
    assert seen == {'1', '2'}


def test_started_again_only_what_failed_is_run(ended, tmp_path):
    folder, _, _ = ended
    before = {name: len(starts(folder, name)) for name in ENDS}
    journal_before = (folder / 'journal.jsonl').read_bytes()
    code, out = sweep(folder, *ENDS, retries=0)
    assert code == 0
    more = {name: len(starts(folder, name)) - before[name] for name in ENDS}
    assert more == dict.fromkeys(ENDS, 0) | {'refuse': 1, 'crash': 1}
    assert 'given up after 1 ends' in out
    assert (folder / 'journal.jsonl').read_bytes().startswith(journal_before)
    # And of a finished run whose folder is gone.
    (config_file,) = folder.glob('runs/behaviour=finish-*/config.json')
    config_file.unlink()
    sweep(folder, *ENDS, retries=0)
    assert len(starts(folder, 'finish')) == before['finish'] + 1


def wait_until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_alive(pid):
    try:
        return pathlib.Path(f'/proc/{pid}/stat').read_text().split(')')[1].split()[0] != 'Z'
    except FileNotFoundError:
        return False


def running(folder, behaviour):
    """The process of such a run once it trains."""
    wait_until(lambda: list(folder.glob('runs/*/checkpoints/20')))
    return starts(folder, behaviour)[-1]['pid']


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_sweep_lets_its_runs_save_and_goes_on_when_started_again(tmp_path, number):
    process = start(tmp_path, 'stop_when_asked', 'crash_once')
    pid = running(tmp_path, 'stop_when_asked')
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (75, '')
    assert 'stopping: ' in out and not is_alive(pid)
    stopped = summary(tmp_path)['stop_when_asked']
    assert (stopped['state'], stopped['step'], stopped['attempts']) == ('interrupted', 50, 1)
    code, out = sweep(tmp_path, 'stop_when_asked', 'crash_once')
    assert code == 0
    assert 'goes on from step 50' in out
    assert {r['state'] for r in summary(tmp_path).values()} == {'finished'}


def test_a_second_ctrl_c_kills(tmp_path):
    process = start(tmp_path, 'deaf')
    pid = running(tmp_path, 'deaf')
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert is_alive(pid) and process.poll() is None
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 75 and not is_alive(pid)
    assert 'killing 1 runs' in out
    assert summary(tmp_path)['deaf']['state'] == 'interrupted'


@pytest.mark.skipif(sys.platform != 'linux', reason='other kernels do not tell a run of it')
def test_runs_save_and_end_when_the_sweep_is_killed(tmp_path):
    process = start(tmp_path, 'stop_when_asked')
    pid = running(tmp_path, 'stop_when_asked')
    process.kill()
    process.communicate()
    wait_until(lambda: not is_alive(pid))
    code, out = sweep(tmp_path, 'stop_when_asked')
    assert code == 0 and 'goes on from step 50' in out


def test_a_workdir_in_use_is_waited_for(tmp_path):
    sweep(tmp_path, 'finish')
    (workdir,) = tmp_path.glob('runs/*')
    (workdir / 'config.json').unlink()
    with WorkdirLock(workdir):
        assert f'process {os.getpid()} on ' in (lock_holder(workdir) or '')
        process = start(tmp_path, 'finish', 'crash_once')
        wait_until(lambda: 'finished' in str(summary(tmp_path).get('crash_once')))
        assert len(starts(tmp_path, 'finish')) == 1
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    assert out.count('waits, process ') == 1 and len(starts(tmp_path, 'finish')) == 2
    assert lock_holder(workdir) is None


def test_looking_for_a_holder_does_not_disturb_one_that_comes(tmp_path):
    assert lock_holder(tmp_path / 'nowhere') is None and not (tmp_path / 'nowhere').exists()
    with WorkdirLock(tmp_path):
        pass
    assert lock_holder(tmp_path) is None
    with open(tmp_path / '.lock') as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


# ---- the table


def test_the_table_shows_what_runs_when_not_all_fits(tmp_path):
    items = [{'config': 'c', 'n': n} for n in range(50)]
    made = runs.make(items, [config(n=n) for n in range(50)], tmp_path)
    with contextlib.closing(
        SweepState(made, tmp_path, retries=1, about={}, say=lambda _: None)
    ) as board:
        for n, code in ((0, 0), (1, 3), (2, 0)):
            board.started(board.jobs[n], 'CPU 0')
            board.ended(board.jobs[n], code)
        for n in (3, 40):
            board.started(board.jobs[n], 'CPU 0')
        (board.jobs[3].workdir).mkdir(parents=True)
        line = '{"step": 5, "perf/steps_per_s": 0.5, "eval/fid": 12.3456}\n'
        (board.jobs[3].workdir / 'metrics.jsonl').write_text(line)
        board.look()
        shown = table._most_telling(board.jobs, 5)
        assert [job.run.item['n'] for job in shown] == [0, 1, 2, 3, 40]
        cells = [list(column.cells) for column in table.table(shown).columns]
        assert cells[1] == ['finished', 'diverged', 'finished', 'running', 'running']
        assert [column[3] for column in cells[2:6]] == ['5/10', '0.5', '12.35', '0:00:10']
        assert [str(c.header) for c in table.table(shown).columns][4] == 'fid'
        # 46 runs of 10 steps and 5 + 10 more, at half a step a second, two at a time.
        said = table.standing(board, slots=2)
        assert said == '2 of 50 finished, 45 pending, 2 running, 1 diverged, ETA 0:07:45'
    assert table.clock(None) == '' and table.clock(3723.4) == '1:02:03'


@pytest.mark.parametrize(
    ('code', 'state'),
    [(75, 'INTERRUPTED'), (130, 'INTERRUPTED'), (-signal.SIGINT, 'INTERRUPTED'), (1, 'CRASHED')],
)
def test_a_run_stopped_before_it_trained_is_gone_on_with(code, state):
    assert board._state_of(code).name == state
