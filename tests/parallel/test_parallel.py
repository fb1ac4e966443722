"""One device, several devices and several processes give the same run (forced CPU devices)."""

import importlib.util
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest

from helpers.parallel_worker import INDEX, TABLE
from snjax.data.host_order import HostOrder
from snjax.latents.sampling import seed_key

ROOT = pathlib.Path(__file__).parents[2]
TIMEOUT = 600  # seconds for all workers together; a deadlock ends here
SLOW_ON_4 = [
    'summed',
    'accumulated',
    'in_2_parts_per_device',
    'glo_in_2_parts_per_device',
    'lecam',
]


class Process:
    """A process that forks a worker for each job (`parallel_worker.py`)."""

    def __init__(self, jobs):
        # Code is generated quickly instead of well: compiling is most of what these tests do.
        environment = os.environ | {
            'JAX_PLATFORMS': 'cpu',
            'PYTHONPATH': os.pathsep.join(map(str, (ROOT, ROOT / 'tests'))),
        }
        worker = ROOT / 'tests/helpers/parallel_worker.py'
        self._process = subprocess.Popen(
            [sys.executable, '-W', 'error', worker, json.dumps(jobs)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._said = None

    def wait(self):
        """Waits for all workers; returns the end of what they said."""
        if self._said is None:
            self._said = self._process.communicate(timeout=TIMEOUT)[0][-3000:]
        return self._said

    def stop(self):
        if self._said is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.communicate()


class Run:
    """Results of workers of one folder."""

    def __init__(self, out, process):
        self._out, self._process = out, process

    def facts(self, process=0):
        said, path = self._process.wait(), self._out / f'facts-{process}.json'
        assert path.exists(), said  # the last that a worker writes
        return json.loads(path.read_text())

    def leaves(self, case, process=0):
        self.facts(process)
        with np.load(self._out / f'{case}-{process}.npz') as leaves:
            return dict(leaves)


class Runs(dict):
    """Runs by name. Those of the quick tests start at once, others when they are first accessed."""

    def __init__(self, plans, make_folder):
        self._plans, self._make_folder, self._processes = plans, make_folder, []
        self._start([name for name in plans if not str(name).startswith(('trained', 'slow'))])

    def _start(self, names):
        folders = {name: self._make_folder(f'devices{name}'.replace(' ', '-')) for name in names}
        jobs = [{'out': str(folders[name]), **job} for name in names for job in self._plans[name]]
        self._processes.append(Process(jobs))
        self.update((name, Run(out, self._processes[-1])) for name, out in folders.items())

    def __missing__(self, name):
        self._start([name])
        return self[name]

    def stop(self):
        for process in self._processes:
            process.stop()


def job(cases, devices, address=None, num_processes=1, process_id=0):
    """What a worker process does with `devices` CPU devices."""
    return {
        'cases': cases,
        'devices': devices,
        'address': address,
        'num_processes': num_processes,
        'process_id': process_id,
    }


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """Workers by their number of devices, and '2x2': two processes connected by Gloo."""
    with socket.socket() as free:
        free.bind(('localhost', 0))
        address = f'localhost:{free.getsockname()[1]}'
    both = ['synchronized', 'glo']
    streamed = ['streamed'] if importlib.util.find_spec('grain') else []
    plans = {
        1: [job(both, 1)],
        4: [job([*both, 'per_device', 'unaveraged'], 4)],
        '2x2': [job([*both, *streamed], 2, address, 2, process_id) for process_id in (0, 1)],
        2: [job([], 2)],
        8: [job([], 8)],
        3: [job([], 3)],
        # Used by slow tests only.
        'trained 2': [job(both[:1], 2)],
        'trained 8': [job(both[:1], 8)],
        'slow 1': [job(['unnormalized', 'in_8_parts', 'glo_in_8_parts', 'lecam'], 1)],
        'slow 4': [job(SLOW_ON_4, 4)],
    }
    started = Runs(plans, tmp_path_factory.mktemp)
    yield started
    started.stop()


@pytest.fixture(scope='module')
def run(runs):
    return runs.__getitem__


@pytest.fixture(scope='module')
def two_processes(runs):
    return runs['2x2']


def distance(a, b):
    """Largest relative L2 distance over the groups of arrays that a run learns.

    The groups are each player's weights and u, G's batch statistics if it has any, and the EMA.
    """
    assert a.keys() == b.keys()
    groups = {}
    for name in a:
        match = re.match(
            r'state/(gen/params|dis/params|.*/batch_stats|.*/spectral|ema/params)/', name
        )
        if match:
            groups.setdefault(match[1], []).append(name)
    kinds = 6 if any('/batch_stats/' in name for name in a) else 4
    assert len(groups) == kinds and any(name.endswith('/u') for name in a)
    return max(
        np.sqrt(
            sum(np.sum((a[n].astype(np.float64) - b[n]) ** 2) for n in names)
            / sum(np.sum(a[n].astype(np.float64) ** 2) for n in names)
        )
        for names in groups.values()
    )


# ---- one device == several


@pytest.mark.parametrize('devices', [4, *(pytest.param(n, marks=pytest.mark.slow) for n in (2, 8))])
def test_several_devices_are_one(run, devices):
    one, several = run(1), run(devices if devices == 4 else f'trained {devices}')
    assert several.facts()['devices'] == devices
    assert several.facts()['shards_equal']['synchronized']
    a, b = one.leaves('synchronized'), several.leaves('synchronized')
    assert a['state/step'] == b['state/step'] == 20
    assert distance(a, b) < 1e-4
    for name in a:
        if name.startswith('metrics/'):
            assert a[name] == pytest.approx(b[name], rel=1e-3, abs=1e-4), name


@pytest.mark.parametrize('broken', ['unaveraged', pytest.param('summed', marks=pytest.mark.slow)])
def test_a_wrong_average_of_the_gradients_is_seen(run, broken):
    """The comparison above fails without the average, and with a sum, which Adam would hide."""
    four = run('slow 4' if broken == 'summed' else 4)
    assert distance(run(1).leaves('synchronized'), four.leaves(broken)) > 1e-2
    assert four.facts()['shards_equal'][broken] == (broken == 'summed')


def test_per_device_batch_norm_differs_and_leaves_equal_shards(run):
    assert run(4).facts()['shards_equal']['per_device']
    away = distance(run(4).leaves('synchronized'), run(4).leaves('per_device'))
    assert 1e-3 < away < 1


@pytest.mark.slow
def test_accumulated_parts_are_the_same_on_several_devices(run):
    """Eight parts on one device, or two on each of four: the same examples and statistics."""
    assert run('slow 4').facts()['shards_equal']['in_2_parts_per_device']
    one, four = run('slow 1').leaves('in_8_parts'), run('slow 4').leaves('in_2_parts_per_device')
    assert distance(one, four) < 1e-4
    assert distance(one, run(1).leaves('synchronized')) > 1e-3
    for name in one:
        if name.startswith('metrics/'):
            assert one[name] == pytest.approx(four[name], rel=1e-3, abs=1e-4), name


@pytest.mark.slow
def test_averages_of_logits_are_those_of_the_whole_batch(run):
    """Of LeCam: in the penalty and in the state, equal on all devices."""
    one, four = run('slow 1').leaves('lecam'), run('slow 4').leaves('lecam')
    assert run('slow 4').facts()['shards_equal']['lecam']
    assert distance(one, four) < 1e-4
    for name in ('real', 'fake', 'weight'):
        kept = f'state/anchors/{name}'
        assert one[kept] == pytest.approx(four[kept], rel=1e-4) and one[kept] != 0


def test_a_generator_update_leaves_the_discriminator_on_three_devices(run):
    """u must not be averaged: the mean of three equal numbers may differ in the last bit."""
    assert run(3).facts()['is_frozen']


@pytest.mark.slow
def test_parts_of_a_batch_on_several_devices_are_the_batch_on_one(run):
    four = run('slow 4')
    assert distance(run('slow 1').leaves('unnormalized'), four.leaves('accumulated')) < 1e-4
    assert four.facts()['shards_equal']['accumulated']


def test_the_run_has_moved(run):
    """Otherwise equality would mean little: after 20 steps the weights differ from their EMA."""
    leaves = run(1).leaves('synchronized')
    kernels = [name for name in leaves if re.match(r'state/gen/params/.*/kernel', name)]
    for name in kernels:
        ema = leaves[name.replace('gen/params', 'ema/params')]
        assert np.linalg.norm(leaves[name] - ema) > 1e-3 * np.linalg.norm(ema)


# ---- several processes


def test_two_processes_of_two_devices_are_one_of_four(run, two_processes):
    facts = [two_processes.facts(i) for i in (0, 1)]
    assert [f['devices'] for f in facts] == [4, 4]
    assert [f['is_main'] for f in facts] == [True, False]
    assert '4 cpu devices in 2 processes' in facts[0]['describe']
    assert all(f['shards_equal']['synchronized'] for f in facts)
    a, b = (two_processes.leaves('synchronized', i) for i in (0, 1))
    assert a.keys() == b.keys() and all(a[n].tobytes() == b[n].tobytes() for n in a)
    assert distance(run(4).leaves('synchronized'), a) < 1e-4


def test_a_step_is_counted_the_same_in_every_process(run, two_processes):
    """Although no process can trace the program of all processes."""
    counted = run(4).facts()['flops']
    for case in ('synchronized', 'glo'):
        assert run(1).facts()['flops'][case] / 4 <= counted[case] < run(1).facts()['flops'][case]
        assert [two_processes.facts(i)['flops'][case] for i in (0, 1)] == [counted[case]] * 2


def test_processes_agree_on_the_step_to_stop_at(two_processes):
    """One of them gets SIGTERM at step 20."""
    stopped = [two_processes.facts(i)['stopped_at'] for i in (0, 1)]
    assert stopped[0] == stopped[1] and 20 <= stopped[0] < 2999


# ---- a table sharded over the devices


def tables(run, devices):
    """The table's results in every process."""
    return [run(devices).leaves('table', i) for i in range(2 if devices == '2x2' else 1)]


@pytest.mark.parametrize(('devices', 'rows'), [(1, 7), (2, 4), (3, 3), (4, 2), (8, 1), ('2x2', 2)])
def test_a_table_is_sharded_and_gathered_bit_for_bit(run, devices, rows):
    for seen in tables(run, devices):
        assert seen['shapes/z'].tolist() == [4 if devices == '2x2' else devices, rows, 3]
        assert seen['round_trip/step'] == 0
        for name, leaf in TABLE.items():
            back = seen[f'round_trip/table/{name}']
            assert back.dtype == leaf.dtype and back.tobytes() == leaf.tobytes()


@pytest.mark.skipif(not importlib.util.find_spec('grain'), reason='Grain is not installed')
def test_each_process_reads_its_own_half_of_a_streamed_batch(run, two_processes):
    """And trains as with a resident set: the same bits, and on one device equal up to rounding."""
    order = HostOrder(seed_key(3, 'data'), 16, 1797)
    for process in (0, 1):
        read = two_processes.facts(process)['read']['streamed']
        half = np.arange(8) + 8 * process
        expected = [order.indices(batch, half).tolist() for batch in range(40)]
        assert sorted(read) == sorted(expected)  # threads read in any order
        streamed, resident = (
            two_processes.leaves(name, process) for name in ('streamed', 'synchronized')
        )
        assert all(streamed[name].tobytes() == resident[name].tobytes() for name in resident)
        assert distance(run(1).leaves('synchronized'), streamed) < 1e-4


@pytest.mark.parametrize('devices', [1, 2, 3, 4, '2x2'])
def test_rows_are_read_and_written_whichever_device_holds_them(run, devices):
    """In the order of the batch; all other rows keep their bits."""
    index = INDEX[:3] if devices == 3 else INDEX
    for seen in tables(run, devices):
        assert seen['after/step'] == 1
        assert seen['seen/total'] == TABLE['count'][index].sum()
        for name, change in {'z': lambda x: -2 * x, 'count': lambda x: x + 100}.items():
            expected = TABLE[name].copy()
            assert seen[f'seen/taken/{name}'].tobytes() == expected[index].tobytes()
            expected[index] = change(expected[index])
            assert seen[f'after/table/{name}'].tobytes() == expected.tobytes()


@pytest.mark.parametrize('devices', [4, '2x2'])
def test_glo_on_several_devices_is_glo_on_one(run, devices):
    """Twenty steps of plain gradient descent, with a table of 1,797 rows on four devices."""
    one = run(1).leaves('glo')
    assert_same_glo(one, run(devices).leaves('glo'))
    first = np.asarray(one['state/table/z'])
    assert first.shape == (1797, 4) and one['state/step'] == 20


@pytest.mark.slow
def test_accumulated_parts_of_glo_are_the_same_on_several_devices(run):
    one = run('slow 1').leaves('glo_in_8_parts')
    assert_same_glo(one, run('slow 4').leaves('glo_in_2_parts_per_device'))
    assert not np.allclose(one['state/table/z'], run(1).leaves('glo')['state/table/z'], rtol=1e-3)


def assert_same_glo(one, other):
    assert one.keys() == other.keys() and 'state/table/z' in one
    for name in one:
        norm = np.linalg.norm(one[name].astype(np.float64))
        assert np.linalg.norm(one[name].astype(np.float64) - other[name]) <= 1e-5 * norm, name


# ---- batch sizes


def test_batch_sizes_that_the_devices_do_not_divide(run):
    expected = (
        'gen_batch_size 30 does not divide over 4 devices: use 28 or 32, --config.gen_batch_size=32'
    )
    assert run(4).facts()['refusal'] == expected
    assert run(1).facts()['refusal'] is None
    small = run(8).facts()['refusal']
    assert small.startswith('gen_batch_size 30 does not divide over 8 devices: use 24 or 32')
