"""`--mode=evaluate` of launch.py: several runs and checkpoints by every protocol, and what cannot
be evaluated.
"""

import csv
import json
import shutil

import pytest

from configs import from_workdir
from configs.modes import evaluate as evaluate_options
from experiments.modes import evaluate
from helpers.launching import NUM_STEPS, checkpoints, events


@pytest.mark.parametrize(
    ('error', 'kind'),
    [
        (json.JSONDecodeError('eval.weights is no JSON', 'x', 0), ValueError),
        (UnicodeDecodeError('utf-8', b'x', 0, 1, 'eval.weights'), ValueError),
        (FileNotFoundError(2, 'No such file', 'eval.weights'), FileNotFoundError),
    ],
    ids=lambda value: getattr(value, '__name__', None),
)
def test_an_error_of_any_kind_names_the_options_of_this_mode(error, kind):
    with (
        pytest.raises(kind, match=r'evaluate\.weights') as raised,
        evaluate._messages_of_this_mode(),
    ):
        raise error
    assert type(raised.value) is kind


def test_evaluate_scores_runs_by_every_protocol_and_compares_them(launcher, finished_run, tmp_path):
    """Two copies of a run stand for two seeds."""
    for seed in (0, 1):
        folder = finished_run.copy(tmp_path / 'runs' / f'seed{seed}')
        config = json.loads((folder / 'config.json').read_text())
        (folder / 'config.json').write_text(json.dumps(config | {'seed': seed}))
    outcome = launcher.run(
        '--mode=evaluate',
        f'--workdir={tmp_path}/runs/seed*',
        '--evaluate.protocols=train/all/60,train/500/40',
        '--evaluate.variants=ema/running,raw/reestimated,raw/batch',
        '--evaluate.batch_size=20',
        '--evaluate.nearest=3',
    )
    assert outcome.code == 0, outcome.stderr
    added = set()
    for seed in (0, 1):
        folder = tmp_path / 'runs' / f'seed{seed}'
        rows = json.loads((folder / 'scores.json').read_text())['rows']
        manifests = [row['manifest'] for row in rows]
        # Those of the training stay.
        assert {m['protocol'] for m in manifests} == {
            'train/all/200',
            'digits yardstick',
            'train/all/60',
            'train/500/40',
        }
        new = [m for m in manifests if m['fake_count'] < 200]
        assert {m['checkpoint'] for m in new} == {'last', 'best'}
        assert len(new) == 2 * 3 * 2
        added |= {m['real_count'] for m in new}
        assert list((folder / 'generated').glob('nearest_digits_*.png'))
        tags = {tag for tag, *_ in events(folder)}
        assert 'eval/digits/train-all-60/last/raw/batch/frechet_distance' in tags
    assert added == {1797, 500}
    board = (tmp_path / 'runs' / 'leaderboard.md').read_text()
    assert f'| digits | {NUM_STEPS} | train/500/40 |' in board
    # Equal runs: the mean is theirs, and the deviation 0.
    assert '± 0 |' in board
    with open(tmp_path / 'runs' / 'leaderboard.csv') as file:
        lines = list(csv.DictReader(file))
    assert {line['seeds'] for line in lines if line['fake_count'] != '200'} == {'2'}
    assert all(float(line['frechet_distance']) > 0 for line in lines)


def evaluated(finished_run, pattern, **changes):
    """Scores the runs that match, as the mode does, with some options changed."""
    options = evaluate_options.get_config()
    options.update(changes)
    config = from_workdir.get_config(str(finished_run.workdir)).lock()
    evaluate.run_evaluate(options, config, pattern)


def test_a_run_without_a_checkpoint_does_not_keep_the_others_from_being_scored(
    finished_run, tmp_path, capsys
):
    for name in ('a', 'b', 'c'):
        finished_run.copy(tmp_path / name)
    shutil.rmtree(tmp_path / 'b' / 'checkpoints')
    evaluated(finished_run, tmp_path / '?', protocols='train/all/60')
    assert f'left out: no checkpoint in {tmp_path}/b' in capsys.readouterr().out
    board = (tmp_path / 'leaderboard.md').read_text()
    assert f'| digits | {NUM_STEPS} | train/all/60 |' in board
    text = (tmp_path / 'leaderboard.tex').read_text()
    assert text.count(r'\toprule') == text.count(r'\end{table}') == 3  # two protocols of the last
    assert 'protocol train/all/60: 60 fakes against 1797 real images' in text
    assert r'Frechet distance (digits) $\downarrow$ & ' in text


def test_several_checkpoints_are_scored_in_turn_and_kept_at_once(launcher, finished_run, tmp_path):
    """The third is not there: what came before it stays."""
    folder = finished_run.copy(tmp_path / 'run')
    before = len(json.loads((folder / 'scores.json').read_text())['rows'])
    there = checkpoints(folder)[-2:]
    asked = ','.join(map(str, [*there, 7]))
    outcome = launcher.run(
        '--mode=evaluate',
        f'--workdir={folder}',
        '--evaluate.protocols=train/all/60',
        f'--evaluate.steps={asked}',
    )
    assert outcome.code == 2 and 'no checkpoint of step 7' in outcome.error_line()
    rows = json.loads((folder / 'scores.json').read_text())['rows']
    manifests = [row['manifest'] for row in rows[before:]]
    assert [(m['checkpoint'], m['step']) for m in manifests] == [('step', s) for s in there]
    assert len({row['scores']['frechet_distance'] for row in rows[before:]}) == 2


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'steps': '10,x'}, "evaluate.steps is '10,x'.*10000,20000"),
        ({'protocols': 'paper'}, 'digits.*'),
        (
            {'protocols': 'train/5000/50'},
            'compares with 5,000 images of train, but digits has 1,797',
        ),
        ({'variants': 'ema'}, 'ema/running,raw/batch'),
        ({'extractor': 'inception'}, 'inception'),
    ],
)
def test_what_cannot_be_evaluated_is_one_line(finished_run, monkeypatch, change, message):
    """The test above shows what launch.py makes of such an error."""
    monkeypatch.setenv('SNJAX_WEIGHTS', '/nowhere')
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        evaluated(finished_run, finished_run.workdir, **change)
    assert '\n' not in str(error.value)
