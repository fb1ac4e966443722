"""`--mode=compile`: the numbers of a training step that is compiled and not run."""

import json

import pytest

from configs import glo_digits, sngan_digits
from experiments.modes import compile as compile_mode
from experiments.modes.compile import compile_step, page
from snjax.parallel import targets


def tiny(module=sngan_digits, **changes):
    c = module.get_config().unlock()
    c.update(batch_size=8)
    c.model.gen_width = 4
    if module is sngan_digits:
        c.update(gen_batch_size=8, n_dis=2)
        c.model.dis_width = 4
        c.model.architecture = 'wgan_gp_cnn'  # of the fewest layers: compiling is what costs
    c.update_from_flattened_dict(changes)
    return c.lock()


def test_a_step_of_this_machine(tmp_path):
    found = compile_step(tiny(), 'cpu', 1797)
    assert json.loads(json.dumps(found)) == found
    assert found['data_bytes'] == 1797 * 16 * 16 + 4 * 1797 + 16  # pixels, labels, two keys
    assert 0 < found['state_bytes'] < found['argument_bytes']
    # The generator's batch norm, its gradients, and those of D twice.
    assert found['collectives']['all-reduce']['count'] >= 3
    assert found['convolutions'] > 10 and found['seconds'] is None
    lines = page(found)
    assert lines[0].startswith('target       cpu: 1 cpu device')
    assert lines[1].startswith('memory       fits: ')
    assert any(line.startswith('  ') and 'snjax/' in line for line in lines)
    assert not any('not measured' in line for line in lines)


@pytest.mark.slow
def test_a_table_of_latents_grows_with_the_set():
    few, many = (compile_step(tiny(glo_digits), 'cpu', num)['state_bytes'] for num in (100, 300))
    assert many - few >= 200 * glo_digits.get_config().model.dim_z * 4


@pytest.mark.slow
def test_a_streamed_step_holds_one_call_of_images():
    found = compile_step(tiny(**{'data.stream': 'on', 'n_dis': 1}), 'cpu', 10**7)
    assert found['data_bytes'] == 8 * 16 * 16


def test_a_modelled_time_says_so_and_a_large_program_does_not_fit():
    found = {
        'target': 'h200', 'devices': '1 NVIDIA H200 device (gpu)', 'device_memory': 10**9,
        'updates_per_call': 50, 'state_bytes': 5, 'data_bytes': 7, 'flops': 50e12,
        'temp_bytes': 9 * 10**8, 'argument_bytes': 2 * 10**8, 'output_bytes': 10, 'alias_bytes': 9,
        'kernels': 5000, 'fusions': 4000, 'convolutions': 500, 'transposes': 0,
        'transpose_bytes': 0, 'copies': 50, 'copy_bytes': 10**6,
        'collectives': {'all-reduce': {'count': 100, 'bytes': 10**8, 'arrays': 900, 'asynchronous': 100}},
        'unknown_loops': 0, 'cycles': 0, 'seconds': 0.5, 'peak_flops': 989e12, 'clock': 0.0,
        'dearest': [{
            'name': 'conv.1', 'opcode': '__cudnn$convForward', 'times': 50, 'seconds': 0.1, 'cycles': 0,
            'num_bytes': 4, 'layer': 'jit(step)/a/b/c/d', 'line': 'snjax/nn/layers.py:3',
        }],
    }  # fmt: skip
    lines = page(found)
    assert lines[1] == (
        'memory       DOES NOT FIT: 1.10 GB of 1.00 GB; temporaries 0.90 GB, state 0.00 GB, data '
        '0.00 GB'
    )
    assert lines[3].startswith('kernels      100 an update, of which 80 are fusions')
    assert '2.0 an update, 2.00 MB of 18 arrays, 2.0 asynchronous' in lines[5]
    # 1 TFLOP in 10 ms is 100 of 989 TFLOP/s.
    assert lines[6] == (
        'time         10 ms an update by a roofline model, not measured; matrix units at 10% '
        'of their peak'
    )
    assert lines[-1] == '  20.0%    50 x __cudnn$convForward  snjax/nn/layers.py:3, b/c'


def test_a_config_that_the_target_cannot_run_is_refused(monkeypatch):
    many = targets.Target('h200x8', targets.CHIPS['h200'], tuple(targets.jax.devices() * 8))
    monkeypatch.setattr(compile_mode.targets, 'find', lambda name: many)
    with pytest.raises(ValueError, match='batch_size 12 does not divide over 8 devices'):
        compile_step(tiny(batch_size=12), 'h200x8', 1797)
    assert targets.current() is None
