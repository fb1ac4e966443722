"""Joining processes, and the signal to stop, in one process."""

import os
import signal
import socket

import jax
import pytest

from snjax import parallel


def test_one_process_handles_sigterm_itself():
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append('the former handler'))
    try:
        stop = parallel.StopSignal()
        assert not stop.at(1)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # as SLURM does
        assert stop.at(2) and stop.at(3) and not heard
        stop.close()
        os.kill(os.getpid(), signal.SIGTERM)
        assert heard == ['the former handler']
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ('mode', 'where', 'words'),
    [
        ('on', {}, ['--distributed=on', 'off, auto, explicit']),
        (
            'explicit',
            {'coordinator_address': None, 'num_processes': 2, 'process_id': 0},
            ['--distributed=explicit needs --coordinator_address', 'host:port'],
        ),
        (
            'explicit',
            {'coordinator_address': '', 'num_processes': None, 'process_id': None},
            ['--coordinator_address --num_processes --process_id'],
        ),
        ('explicit', {}, ['--coordinator_address --num_processes --process_id']),
        (
            'explicit',
            {'coordinator_address': 'host0', 'num_processes': 2, 'process_id': 1},
            ['--coordinator_address=host0: accepted is host:port'],
        ),
    ],
)
def test_initialize_refuses(mode, where, words):
    before = jax.config.jax_cpu_collectives_implementation
    jax.devices()  # initializes a backend, so that joining is impossible
    try:
        with pytest.raises(ValueError) as caught:
            parallel.initialize(mode, **where)
        assert jax.config.jax_cpu_collectives_implementation == before
    finally:
        jax.config.update('jax_cpu_collectives_implementation', before)
    assert '\n' not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_initialize_refuses_a_port_that_is_in_use():
    with socket.create_server(('', 0)) as server:
        address = f'localhost:{server.getsockname()[1]}'
        with pytest.raises(ValueError, match=f'--coordinator_address={address}: process 0 cannot'):
            parallel.initialize(
                'explicit', coordinator_address=address, num_processes=2, process_id=0
            )


def test_initialize_off_does_nothing():
    parallel.initialize('off', coordinator_address=None, num_processes=None, process_id=None)
    assert parallel.is_main() and not jax.distributed.is_initialized()
