"""Which GPUs a SLURM task uses."""

import pytest

from snjax.host.gpus import own_gpus

EIGHT = {'CUDA_VISIBLE_DEVICES': '0,1,2,3,4,5,6,7'}


@pytest.mark.parametrize(
    ('environ', 'expected'),
    [
        ({**EIGHT}, None),  # no SLURM
        ({'SLURM_LOCALID': '0', 'JAX_PLATFORMS': 'cpu'}, None),
        ({**EIGHT, 'SLURM_LOCALID': '0', 'JAX_LOCAL_DEVICE_IDS': '3'}, None),
        ({**EIGHT, 'SLURM_LOCALID': '0', 'SLURM_STEP_TASKS_PER_NODE': '1(x2)'}, [*range(8)]),
        ({**EIGHT, 'SLURM_LOCALID': '5', 'SLURM_STEP_TASKS_PER_NODE': '8(x2)'}, [5]),
        ({**EIGHT, 'SLURM_LOCALID': '1', 'SLURM_STEP_TASKS_PER_NODE': '2'}, [4, 5, 6, 7]),
        (
            {
                **EIGHT,
                'SLURM_LOCALID': '3',
                'SLURM_NODEID': '2',
                'SLURM_STEP_TASKS_PER_NODE': '8(x2),4',
            },
            [6, 7],
        ),
        (
            {
                'CUDA_VISIBLE_DEVICES': '3',
                'SLURM_LOCALID': '3',
                'SLURM_STEP_TASKS_PER_NODE': '4',
            },
            [0],
        ),
        (
            {
                'CUDA_VISIBLE_DEVICES': '4,5',
                'SLURM_LOCALID': '1',
                'SLURM_STEP_TASKS_PER_NODE': '2',
                'SLURM_GPUS_PER_TASK': '2',
            },
            [0, 1],
        ),
    ],
)
def test_tasks_of_slurm_divide_the_gpus_that_they_see(environ, expected):
    assert own_gpus(environ) == expected
