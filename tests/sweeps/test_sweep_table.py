"""The table of a sweep, and the states that exit codes lead to."""

import contextlib
import signal

import pytest

from snjax.sweeps import runs, sweep_state, table
from snjax.sweeps.sweep_state import SweepState


def test_the_table_shows_what_runs_when_not_all_fits(tmp_path):
    items = [{'config': 'c', 'n': n} for n in range(50)]
    configs = [{'num_steps': 10, 'n': n} for n in range(50)]
    made = runs.make(
        items, configs, tmp_path, identify=lambda config: config, num_steps=[10] * len(items)
    )
    with contextlib.closing(
        SweepState(made, tmp_path, retries=1, about={}, say=lambda _: None)
    ) as sweep:
        for n, code in ((0, 0), (1, 3), (2, 0)):
            sweep.mark_started(sweep.jobs[n], 'CPU 0')
            sweep.mark_ended(sweep.jobs[n], code)
        for n in (3, 40):
            sweep.mark_started(sweep.jobs[n], 'CPU 0')
        (sweep.jobs[3].workdir).mkdir(parents=True)
        line = '{"step": 5, "perf/steps_per_s": 0.5, "eval/fid": 12.3456}\n'
        (sweep.jobs[3].workdir / 'metrics.jsonl').write_text(line)
        sweep.refresh()
        shown = table._most_relevant(sweep.jobs, 5)
        assert [job.run.item['n'] for job in shown] == [0, 1, 2, 3, 40]
        cells = [list(column.cells) for column in table.table(shown).columns]
        assert cells[1] == ['finished', 'diverged', 'finished', 'running', 'running']
        assert [column[3] for column in cells[2:6]] == ['5/10', '0.5', '12.35', '0:00:10']
        assert [str(c.header) for c in table.table(shown).columns][4] == 'fid'
        # 46 runs of 10 steps and 5 + 10 more, at half a step per second, two at a time.
        line = table.status_line(sweep, slots=2)
        assert line == '2 of 50 finished, 45 pending, 2 running, 1 diverged, ETA 0:07:45'
    assert table.clock(None) == '' and table.clock(3723.4) == '1:02:03'


@pytest.mark.parametrize(
    ('code', 'state'),
    [(75, 'INTERRUPTED'), (130, 'INTERRUPTED'), (-signal.SIGINT, 'INTERRUPTED'), (1, 'CRASHED')],
)
def test_a_run_that_was_stopped_is_interrupted_and_no_crash(code, state):
    assert sweep_state._state_for(code).name == state
