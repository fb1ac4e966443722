"""Programs: lowered for other platforms, and many in a row on CPU devices."""

import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from configs import sngan_digits
from experiments import build
from snjax import parallel
from snjax.training.step import make_step

ROOT = pathlib.Path(__file__).parents[2]
TIMEOUT = 300  # seconds; a deadlock ends here


def test_the_step_lowers_for_tpu_and_cuda(monkeypatch):
    """SNGAN's whole per-device step with its collectives, as a loop of 50 updates.

    Lowering, which needs no such device, fails for operations that a platform lacks.
    """
    monkeypatch.setattr(jax, 'default_backend', lambda: 'tpu')  # on a CPU loops are unrolled
    config = sngan_digits.get_config()
    config.update(
        {'num_steps': 50, 'steps_per_call': 0, 'n_dis': 2, 'model': {'dtype': 'bfloat16'}}
    )
    config.log.every = config.log.histograms_every = config.sampling.every = 50
    config.checkpoint.every = 50
    sngan, options = build.method(config), build.options(config)
    assert options.steps_per_call == 50
    step = parallel.DataParallel(make_step(sngan, options), sngan.state_axes)
    arguments = jax.eval_shape(
        lambda: (
            sngan.init(jax.random.key(0)),
            {
                'image': jnp.zeros((1797, 16, 16, 1), jnp.uint8),
                'label': jnp.zeros(1797, jnp.int32),
                'data_rng': jax.random.key_data(jax.random.key(0)),
                'train_rng': jax.random.key_data(jax.random.key(1)),
            },
        )
    )
    for platform in ('tpu', 'cuda'):
        text = step.lower(*arguments, platform).as_text()
        assert 'stablehlo.while' in text and 'stablehlo.convolution' in text
        assert 'stablehlo.all_reduce' in text and 'bf16' in text
        assert len(text) < 3_000_000  # the loop's body once


_A_QUEUE = """
import sys, time
import jax, jax.numpy as jnp, numpy as np
from snjax import parallel

spread = parallel.OverBatches(lambda v, x: (x @ v).var(0) + ((x @ v) ** 2).mean(0))
matrix = parallel.replicate(np.ones((16, 16), np.float32))
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    given = [spread(matrix, np.ones((8, 16), np.float32)) for _ in range(32)]
    assert np.asarray(sum(given[1:], given[0]))[0] == 32 * 256
"""


@pytest.mark.slow
def test_many_programs_on_several_cpu_devices_do_not_lock_up():
    """They did when queued: within 15 s in each of three simultaneous processes on two cores."""
    flags = (
        '--xla_force_host_platform_device_count=4'
        ' --xla_cpu_collective_call_warn_stuck_timeout_seconds=5'
        ' --xla_cpu_collective_call_terminate_timeout_seconds=20'
    )
    environment = os.environ | {'XLA_FLAGS': flags, 'PYTHONPATH': str(ROOT)}
    processes = [
        subprocess.Popen(
            [sys.executable, '-c', _A_QUEUE, '60'],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(3)
    ]
    ended = [(process.communicate(timeout=TIMEOUT)[0], process.returncode) for process in processes]
    for said, code in ended:
        assert code == 0, said[:1000]
