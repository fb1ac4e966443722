"""The progress of a run, read from its files."""

from snjax.sweeps.progress import Progress, last_lines


def test_progress_follows_a_file_that_grows_and_is_cut(tmp_path):
    lines = tmp_path / 'metrics.jsonl'
    progress = Progress(tmp_path)
    progress.refresh()
    assert (progress.step, progress.rate, progress.score()) == (0, None, None)
    first = '{"step": 10, "perf/steps_per_s": 2.5}\n'
    lines.write_text(first + '{"step": 20, "perf/ste')
    progress.refresh()
    assert (progress.step, progress.rate) == (10, 2.5)
    with open(lines, 'a') as file:
        file.write('ps_per_s": 4}\n{"step": 20, "eval/frechet_distance": 7.5, "eval/a/b": 1}\n')
    progress.refresh()
    assert (progress.step, progress.rate, progress.scores) == (20, 4, {'frechet_distance': 7.5})
    lines.write_text(first)  # a resumed run removes the steps that it repeats
    progress.refresh()
    assert progress.step == 10


def test_last_lines(tmp_path):
    log = tmp_path / 'log'
    assert last_lines(log) == []
    log.write_text('before\n' * 2000 + '\none\n\ntwo\n')
    assert last_lines(log, 2) == ['one', 'two']
    assert last_lines(log, 3, since=len('before\n') * 2000) == ['one', 'two']
