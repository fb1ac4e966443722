"""Tests of snjax.runs.tags: what the tags of scores are called."""

from snjax.runs import tags


def test_tags_of_a_training_are_told_from_later_ones_and_older_ones_are_read():
    group = tags.score_group('digits', 'train/all/1000')
    assert group == 'eval/digits/train-all-1000'
    assert tags.score_name(f'{group}/precision') == 'precision'
    assert tags.score_name('eval/fid') == 'fid'
    later = tags.score_group('inception', 'paper', 'last', 'ema', 'running')
    assert tags.score_name(f'{later}/fid') is None
    assert tags.score_name('train/dis_loss') is None
