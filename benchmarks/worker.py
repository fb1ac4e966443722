"""One side of a comparison in a process of its own, so that neither library disturbs the other.

    python -m benchmarks.worker '{"side": "ours", "workload": "sngan_resnet", "changes": {}}'

It makes its networks, does one update, reports the cost as JSON, and waits. A number on standard
input asks for that many updates; the answer is another line of JSON. `Worker` is the other end.
"""

import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from typing import Any


class Ended(RuntimeError):
    """A side has ended; its message is on stderr."""


class Worker:
    """A running side, ready when made.

    It and `run` raise `Ended`.

    Attributes:
        name: of the side.
        start: the report of its start; `first_update_s` is wall time from the process's start.
    """

    def __init__(self, name: str, python: str, job: dict[str, Any], env: dict[str, str]):
        self.name = name
        began = time.perf_counter()
        self._process = subprocess.Popen(
            [python, '-m', 'benchmarks.worker', json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **env},
        )
        try:
            self.start = self._answer()
        except Ended:
            self.close()
            raise
        self.start['first_update_s'] = time.perf_counter() - began

    def run(self, num_updates: int) -> dict[str, Any]:
        """Does updates; returns `seconds` of wall time, `cpu_seconds`, and `peak_bytes` so far."""
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):  # no answer will come, which is noticed below
            self._process.stdin.write(f'{num_updates}\n')
            self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _answer(self):
        assert self._process.stdout
        for line in self._process.stdout:
            if line.startswith('{'):
                return json.loads(line)
        raise Ended(f'{self.name} ended with exit code {self._process.wait()}')


def _ours(job):
    from benchmarks.workloads import WORKLOADS, Step, load_config

    workload = WORKLOADS[job['workload']]
    step = Step(load_config(workload.config, {**workload.changes, **job.get('changes', {})}))
    began = time.perf_counter()
    step.compile()
    return step, {'compile_s': time.perf_counter() - began}


def _pytorch(job):
    import torch

    from benchmarks.peers import pytorch
    from benchmarks.workloads import WORKLOADS

    work = pytorch.Work(
        **WORKLOADS[job['workload']].pytorch, batch_size=64, gen_batch_size=64, n_dis=5
    )
    return pytorch.Trainer(work, job['form']), {'torch': torch.__version__}


def _mimicry(job):
    import torch

    from benchmarks.peers import mimicry

    network = job['network']
    trainer = mimicry.Trainer(job['checkout'], network, 64, n_dis=5, layout=job['layout'])
    return trainer, {'torch': torch.__version__}


def _peak_bytes() -> int:
    """Peak memory of the device, or of the process if the device has no memory of its own."""
    if 'torch' in sys.modules and sys.modules['torch'].cuda.is_available():
        return sys.modules['torch'].cuda.max_memory_allocated()
    if 'torch' not in sys.modules:
        import jax

        stats = jax.devices()[0].memory_stats()
        if stats:
            return stats['peak_bytes_in_use']
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit('benchmarks.worker is one side of benchmarks.against_peers, which starts it')
    began = time.perf_counter()
    job = json.loads(sys.argv[1])
    trainer, facts = {'ours': _ours, 'pytorch': _pytorch, 'mimicry': _mimicry}[job['side']](job)
    per_call = getattr(getattr(trainer, 'options', None), 'steps_per_call', 1)
    trainer.run(per_call)
    trainer.block()
    ready = time.perf_counter() - began
    print(json.dumps({'ready_s': ready, 'updates_per_call': per_call, **facts}), flush=True)
    for line in sys.stdin:
        num = -(-int(line) // per_call) * per_call
        began, cpu = time.perf_counter(), time.process_time()
        trainer.run(num)
        trainer.block()
        answer = {
            'updates': num,
            'seconds': time.perf_counter() - began,
            'cpu_seconds': time.process_time() - cpu,
            'peak_bytes': _peak_bytes(),
        }
        print(json.dumps(answer), flush=True)


if __name__ == '__main__':
    main()
