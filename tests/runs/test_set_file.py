"""Tests of snjax.runs.set_file: a run notices that its images are not what they were."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from snjax import data
from snjax.runs import set_file

NUM = 6


@pytest.fixture
def folder(tmp_path):
    for i in range(NUM):
        save(tmp_path / 'images' / f'{i}.png', i)
    return tmp_path / 'images'


def save(path, seed):
    path.parent.mkdir(exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def load(path, **options):
    return data.load('folder', path=str(path), image_size=8, **options)


def refusal(workdir, image_set, **options):
    with pytest.raises(ValueError, match='was trained on another set: ') as caught:
        set_file.check(workdir, image_set, **options)
    return str(caught.value).partition('another set: ')[2]


@pytest.fixture
def workdir(tmp_path, folder):
    set_file.write(tmp_path / 'run', load(folder))
    return tmp_path / 'run'


def test_the_same_images_elsewhere_are_the_same_set(workdir, folder, tmp_path):
    shutil.copytree(folder, tmp_path / 'copied')
    folder.rename(tmp_path / 'moved')
    before = (workdir / 'set.json').read_bytes()
    for place in ('copied', 'moved'):
        for options in ({}, {'decode_later': True}):
            image_set = load(tmp_path / place, **options)
            set_file.check(workdir, image_set)
            set_file.write(workdir, image_set)
    assert (workdir / 'set.json').read_bytes() == before


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (lambda f: (f / '2.png').unlink(), '6 images then, 5 now, 1 missing: 2.png (number 2);'),
        (lambda f: save(f / '7.png', 9), '6 images then, 7 now, 1 new: 7.png;'),
        (lambda f: save(f / '2.png', 9), '1 with other pixels: 2.png'),
        (lambda f: (f / '2.png').rename(f / '9.png'), '1 missing: 2.png (number 2), 1 new: 9.png'),
        (lambda f: [save(p, 9) for p in f.iterdir()], '6 with other pixels: 0.png, 1.png, 2.png '),
    ],
)
def test_a_changed_set_is_refused_with_what_has_changed(workdir, folder, change, words):
    change(folder)
    text = refusal(workdir, load(folder))
    assert text.startswith(words), text
    assert text.endswith('accept them with --config.data.accept_changed=true')


def test_arrays_are_told_by_number(tmp_path):
    def arrays(*order, labels=(0, 1, 2)):
        images = np.stack([np.full((8, 8, 3), i, np.uint8) for i in order])
        np.savez(tmp_path / 'x.npz', images=images, labels=np.array(labels))
        return data.load('npz', path=str(tmp_path / 'x.npz'), image_size=8)

    set_file.write(tmp_path, arrays(1, 2, 3))
    set_file.check(tmp_path, arrays(1, 2, 3))
    assert refusal(tmp_path, arrays(3, 2, 1)).startswith('another order;')
    assert refusal(tmp_path, arrays(1, 2, 3, labels=(0, 2, 1))).startswith('other labels;')
    assert refusal(tmp_path, arrays(1, 5, 3)).startswith('1 missing: number 1, 1 new: number 1;')


def test_images_that_are_decoded_later_are_known_by_names_and_sizes(tmp_path, folder):
    set_file.write(tmp_path, load(folder, decode_later=True))
    (folder / '2.png').unlink()
    assert refusal(tmp_path, load(folder, decode_later=True)).startswith(
        '6 images then, 5 now, 1 missing: 2.png (number 2);'
    )


def test_a_set_is_accepted_once_and_what_was_before_is_kept(workdir, folder, caplog):
    first = json.loads((workdir / 'set.json').read_text())['sha256']
    save(folder / '2.png', 9)
    changed = load(folder)
    set_file.check(workdir, changed, accept_changed=True)
    assert '1 with other pixels: 2.png' in caplog.text
    (workdir / 'checkpoints' / '40').mkdir(parents=True)
    set_file.write(workdir, changed)
    set_file.check(workdir, changed)
    record = json.loads((workdir / 'set.json').read_text())
    assert record['replaced'] == [{'sha256': first, 'name': 'folder', 'until_step': 40}]


def test_other_numbers_are_refused_and_those_that_no_model_takes_do_not_count(
    workdir, folder, tmp_path
):
    table = folder / 'conditions.csv'
    table.write_text('file,a,b\n' + ''.join(f'{i}.png,{i},0\n' for i in range(NUM)))
    set_file.check(workdir, load(folder))
    numbered = load(folder, conditions='')
    set_file.check(workdir, numbered)  # begun by a version without
    of_numbers = tmp_path / 'of_numbers'
    set_file.write(of_numbers, numbered)
    set_file.check(of_numbers, numbered)
    table.write_text(table.read_text().replace('5.png,5', '5.png,6'))
    for options in ({'conditions': ''}, {'conditions': 'conditions.csv:b'}):
        for later in (False, True):
            found = load(folder, decode_later=later, **options)
            assert refusal(of_numbers, found).startswith('other numbers of the images')
            assert set_file.identity(found) != set_file.identity(numbered)
    set_file.check(workdir, load(folder))


def test_a_table_with_a_row_per_image_accepts_no_other_number(workdir, folder):
    save(folder / '7.png', 9)
    text = refusal(workdir, load(folder), accept_changed=True, has_rows=True)
    assert '1 new: 7.png' in text and 'accept' not in text


def test_runs_of_older_versions_and_damaged_records_accept_any_set(tmp_path, folder, caplog):
    set_file.check(tmp_path, load(folder))
    for text in ('', '{}', '{"num_images": 1}', '[]', '\0\0'):
        (tmp_path / 'set.json').write_text(text)
        caplog.clear()
        set_file.check(tmp_path, load(folder))
        assert 'set.json cannot be used' in caplog.text
    set_file.write(tmp_path, load(folder))
    set_file.check(tmp_path, load(folder))
    assert set_file.read(tmp_path)['num_images'] == NUM


def test_a_file_exchanged_under_its_old_time_is_decoded_again(folder):
    for options in ({}, {'decode_later': True}):
        before = load(folder, **options)
        old = (folder / '2.png').stat()
        content = bytearray((folder / '2.png').read_bytes())
        save(folder / '2.png', 9)
        padded = (folder / '2.png').read_bytes().ljust(len(content), b'\0')[: len(content)]
        (folder / '2.png').write_bytes(padded)
        os.utime(folder / '2.png', ns=(old.st_atime_ns, old.st_mtime_ns))
        assert load(folder, **options).sha256 != before.sha256
        save(folder / '2.png', 2)


def test_the_columns_of_a_grid_are_named_where_names_say_more_than_numbers(tmp_path, folder):
    rows = [f'{i}.png,{kind}' for i, kind in enumerate(['ant', 'bee', 'c\x1b[31m'] * 2)]
    (folder / 'labels.csv').write_text('\n'.join(['file,label', *rows]))
    set_file.write(tmp_path / 'named', load(folder))
    assert set_file.columns_line(tmp_path / 'named', 3) == r'columns: ant, bee, c\x1b[31m'
    assert set_file.columns_line(tmp_path / 'named', 2) == ''
    assert set_file.columns_line(tmp_path / 'nothing', 3) == ''
    set_file.write(tmp_path / 'digits', data.load('digits', image_size=8, channels=1))
    assert set_file.columns_line(tmp_path / 'digits', 10) == ''
    record = json.loads((tmp_path / 'named' / 'set.json').read_text())
    del record['class_names']  # as an older version wrote it
    (tmp_path / 'named' / 'set.json').write_text(json.dumps(record))
    assert set_file.columns_line(tmp_path / 'named', 3) == ''
    set_file.check(tmp_path / 'named', load(folder))
