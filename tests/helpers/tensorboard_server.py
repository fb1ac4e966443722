"""A real TensorBoard in a process of its own, for tests that ask it over HTTP."""

import contextlib
import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from helpers.waiting import wait_until

START_SECONDS = 60.0


@contextlib.contextmanager
def serve(logdir: Path, *flags: str) -> Iterator[str]:
    """Runs `tensorboard --logdir logdir flags...` on 127.0.0.1; yields its URL once it answers."""
    command = [sys.executable, '-m', 'tensorboard.main', '--logdir', str(logdir), '--port', '0']
    command += ['--host', '127.0.0.1', '--reload_interval', '1', *flags]
    # Its output goes to a file: nobody empties a pipe while the tests ask, and a full one stops it.
    output_path = Path(logdir).with_name(f'{Path(logdir).name}-tensorboard-{time.time_ns()}.log')
    with open(output_path, 'wb') as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        yield _wait_for_url(process, output_path)
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def ask(base_url: str, route: str, body: Any = None, **query: Any) -> Any:
    """GETs `base_url/data/route?query`, or POSTs `body` as JSON; returns the JSON of the answer."""
    return json.loads(ask_bytes(base_url, route, body, **query))


def ask_bytes(base_url: str, route: str, body: Any = None, **query: Any) -> bytes:
    """As `ask`, for answers that aren't JSON: a picture, say."""
    url = f'{base_url}/data/{route}'
    if query:
        url += f'?{urllib.parse.urlencode(query)}'
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {'Content-Type': 'application/json'})
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read()


def wait_for(
    question: Callable[[], Any], accept: Callable[[Any], bool], seconds: float = 20
) -> Any:
    """Asks until `accept(answer)` or `seconds` have passed; returns the last answer for an assert.

    An HTTP error counts as an answer that is not accepted: TensorBoard gives 404 for a tag that it
    has not loaded yet.
    """
    answer = None

    def is_accepted():
        nonlocal answer
        try:
            answer = question()
        except urllib.error.HTTPError as error:
            answer = error
            return False
        return accept(answer)

    wait_until(is_accepted, seconds=seconds, interval=0.1)
    return answer


def scalar_points(base_url: str, run: str, tag: str) -> list[tuple[int, float]]:
    """Returns (step, value) of every point of a scalar, in TensorBoard's order."""
    points = ask(base_url, 'plugin/scalars/scalars', run=run, tag=tag)
    return [(step, value) for _, step, value in points]


def hparams_rows(base_url: str) -> dict[str, dict[str, Any]]:
    """Returns for each run of the HParams table its columns: hyper-parameters and last metrics."""
    experiment = ask(base_url, 'plugin/hparams/experiment', body={})
    columns = [{'hparam': info['name']} for info in experiment.get('hparamInfos', [])]
    columns += [{'metric': info['name']} for info in experiment.get('metricInfos', [])]
    request = {
        'startIndex': 0,
        'sliceSize': 100,
        'colParams': columns,
        'allowedStatuses': [
            'STATUS_UNKNOWN',
            'STATUS_SUCCESS',
            'STATUS_FAILURE',
            'STATUS_RUNNING',
        ],
    }
    groups = ask(base_url, 'plugin/hparams/session_groups', body=request)
    rows = {}
    for group in groups.get('sessionGroups', []):
        (session,) = group['sessions']
        metrics = {m['name']['tag']: m['value'] for m in session.get('metricValues', [])}
        rows[session['name']] = group['hparams'] | metrics
    return rows


def _wait_for_url(process: subprocess.Popen, output_path: Path) -> str:
    def url():
        return re.search(r'http://127\.0\.0\.1:\d+', output_path.read_text(errors='replace'))

    if found := wait_until(url, process, seconds=START_SECONDS, interval=0.1):
        return found[0]
    output = output_path.read_text(errors='replace')[-2000:]
    if process.poll() is not None:
        raise RuntimeError(f'TensorBoard ended with {process.returncode}: {output}')
    raise RuntimeError(f'TensorBoard gave no address within {START_SECONDS} s: {output}')
