"""Slots: equal parts of the GPUs or cores of a machine."""

import os
import subprocess
import sys

import pytest

from helpers.launching import ROOT
from snjax.sweeps import slots


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
    """From the environment or from nvidia-smi, here a stand-in on the PATH."""
    smi = tmp_path / 'nvidia-smi'
    smi.write_text('#!/bin/sh\nprintf "0\\n1\\n"\n')
    smi.chmod(0o755)
    path = os.environ['PATH']
    assert slots.find_gpus({'CUDA_VISIBLE_DEVICES': '2, GPU-5a'}) == ['2', 'GPU-5a']
    assert slots.find_gpus({'CUDA_VISIBLE_DEVICES': ''}) == []
    assert slots.find_gpus({'CUDA_VISIBLE_DEVICES': '-1'}) == []
    code = 'from snjax.sweeps import slots; print([s.name for s in slots.find()])'

    def found(**env):
        own = ('CUDA_VISIBLE_DEVICES', 'JAX_PLATFORMS')
        clean = {k: v for k, v in os.environ.items() if k not in own}
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
