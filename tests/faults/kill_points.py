"""A life is killed before each of its file operations, goes on, and must end as if undisturbed."""

import functools
import pathlib
import random
import shutil

import life


def campaign(folder: pathlib.Path, limit: int = 0) -> dict[str, int]:
    """Kills at `limit` operations, chosen at random; 0 for every one. Returns counts."""
    whole = folder / 'whole'
    code, output = life.fork(functools.partial(_count, whole))
    assert code == 0, output
    total = int(output.splitlines()[-1])
    code, expected = life.fork(functools.partial(life.result, whole))
    assert code == 0, expected
    points = list(range(1, total + 1))
    if limit:
        points = sorted(random.Random(0).sample(points, limit))
    counts = {'operations': total, 'kills': 0, 'wrong': 0, 'leftovers': 0, 'noise': 0}
    for point in points:
        counts['kills'] += 1
        run = folder / f'kill-{point}'
        code, output = life.fork(functools.partial(_killed, run, point))
        assert code == -9 or code == 0, output  # 0: threads made fewer operations this time
        code, output = life.fork(functools.partial(life.live, run))
        counts['noise'] += bool(output)
        if code == 0:
            code, output = life.fork(functools.partial(life.result, run))
        if code or output != expected:
            counts['wrong'] += 1
            print(f'kill before operation {point}: exit {code}, {output}')
            continue
        if left := life.leftovers(run):
            counts['leftovers'] += 1
            print(f'kill before operation {point} leaves {left}')
        shutil.rmtree(run)
    return counts


def _count(folder: pathlib.Path) -> str:
    count = life.kill_at(0)
    life.live(folder)
    return str(count[0])


def _killed(folder: pathlib.Path, point: int) -> None:
    life.kill_at(point)
    life.live(folder)
