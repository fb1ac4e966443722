"""What a resume removes from the logs: later points, which it computes again, and damage.

The removed bytes are kept in `cut/<step>-<number>/`, of which the newest ten stay: lines in
`metrics.jsonl`, records of event files in `events-<number>.records`. They are written before the
logs change, so a kill in between loses nothing.
"""

import shutil
from pathlib import Path

from snjax.runs import event_file
from snjax.runs.files import Lines, read_lines, replace_file, whole
from snjax.runs.workdir import CUT, METRICS_NAME, event_folder

_KEPT = 10


def cut(workdir: Path, step: int) -> tuple[dict[str, int], str]:
    """Removes points later than `step`, and damage, from `metrics.jsonl` and the event files.

    Args:
        workdir: of the run, which the caller has locked.
        step: the last one to keep.

    Returns:
        The last step of each name in `metrics.jsonl`, and a line on what was removed; '' for
        nothing.
    """
    aside = _Aside(workdir / CUT, step)
    path = workdir / METRICS_NAME
    steps, late, bad = _cut_lines(path, read_lines(path), step, aside)
    records = places = 0
    for number, events in enumerate(event_file.event_files(event_folder(workdir))):
        name = f'events-{number}.records'  # TensorBoard reads every name with 'tfevents'
        found = event_file.cut_events(
            events,
            lambda event: event.step <= step,
            lambda pieces, name=name: aside.keep(name, pieces),
        )
        records, places = records + found[0], places + found[1]
    if not aside.is_used:
        return steps, ''
    aside.drop_oldest()
    what = [_counted(late, 'line'), _counted(records, 'TensorBoard record')]
    damage = [
        _counted(bad, 'line'),
        _counted(places, 'place in event files', 'places in event files'),
    ]
    parts = [
        ' and '.join(filter(None, found)) + end
        for found, end in ((what, f' after step {step}'), (damage, ' damaged'))
        if any(found)
    ]
    return steps, f'removed from the logs: {"; ".join(parts)}; kept in {aside.folder}'


def _cut_lines(
    path: Path, lines: Lines, last_step: int, aside: '_Aside'
) -> tuple[dict[str, int], int, int]:
    """Cuts `metrics.jsonl`; returns each name's last step, and how many lines were late or bad."""
    kept, late, bad, steps = [], [], [*lines.bad, *filter(None, [lines.tail])], {}
    for text, point in lines.good:
        try:
            step = whole(point.get('step'))
            _ = [float(value) for value in point.values()]
        except (ValueError, TypeError):
            bad.append(text)
            continue
        if step > last_step:
            late.append(text)
            continue
        kept.append(text)
        steps.update((name, max(step, steps.get(name, -1))) for name in point)
    if late or bad:
        aside.keep(METRICS_NAME, [*late, *bad])
        replace_file(path, kept)
    return steps, len(late), len(bad)


def _counted(num: int, one: str, many: str = '') -> str:
    return f'{num} {one if num == 1 else many or one + "s"}' if num else ''


class _Aside:
    """The folder of one resume, made at the first use."""

    def __init__(self, above: Path, step: int):
        number = 0
        while (above / f'{step}-{number}').exists():
            number += 1
        self.folder = above / f'{step}-{number}'
        self.is_used = False

    def keep(self, name: str, pieces: list[bytes]) -> None:
        self.is_used = True
        replace_file(self.folder / name, pieces)

    def drop_oldest(self) -> None:
        """Keeps the newest few folders, so that a run that is often killed does not fill a disk."""
        found = sorted(self.folder.parent.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        for path in found[:-_KEPT]:
            shutil.rmtree(path, ignore_errors=True)
