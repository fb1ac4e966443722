"""One process of a small distributed run: `hosts_worker.py ADDRESS NUM ID FOLDER CASE`."""

import contextlib
import ctypes
import functools
import pathlib
import sys
import time

from snjax.host import supervisor
from snjax.runs.workdir import describe_newest

SECONDS = 8  # without a heartbeat until a process is taken for lost


def main(address, num, process_id, folder, case):
    folder = pathlib.Path(folder)
    newest = functools.partial(describe_newest, folder)
    supervisor.supervise(newest)

    import jax
    import jax.numpy as jnp

    from snjax import parallel
    from snjax.runs.checkpoint import Checkpointer

    with parallel.report_exit(), _exit_2():
        parallel.initialize(
            'explicit',
            join_timeout=60,
            peer_timeout=SECONDS,
            newest=newest,
            alike={'lr': 0.1 * int(process_id)} if case == 'alike' else {'lr': 0.1},
            coordinator_address=address,
            num_processes=int(num),
            process_id=int(process_id),
        )
        state = parallel.replicate({'x': jnp.arange(8.0)})
        checkpoints = Checkpointer(folder / 'checkpoints')
        checkpoints.save(10, state)
        checkpoints.wait()
        print('saved', flush=True)
        is_odd = bool(int(process_id) % 2)
        if case in ('collective', 'error') and not is_odd:
            parallel.any_process(True)
        elif case == 'checkpoint' and not is_odd:
            checkpoints.save(20, state)
            checkpoints.wait()
        elif case == 'busy':
            if not is_odd:  # holds the GIL, so no other thread of this process runs
                ctypes.PyDLL(None).sleep(2 * SECONDS)
            assert parallel.any_process(not is_odd)
        elif case == 'error' and is_odd:
            raise OSError('the disk of this host is full')
        else:
            time.sleep(10 * SECONDS)
        checkpoints.close()
        print(jax.process_count(), 'processes', flush=True)


@contextlib.contextmanager
def _exit_2():
    """Ends after a refusal as launch.py does."""
    from snjax import parallel

    try:
        yield
    except ValueError as error:
        parallel.exit_if_peer_lost(error)
        supervisor.say(str(error))
        sys.exit(2)


if __name__ == '__main__':
    main(*sys.argv[1:])
