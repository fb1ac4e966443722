"""Numbers of images from tables and arrays: what is read, and what is refused."""

import re
import zipfile

import numpy as np
import pytest
from PIL import Image

from snjax import data, from_config
from snjax.data import sets
from snjax.data.condition_tables import conditions

FILES = ['b.png', 'a.png', 'sub/c.png']  # in the order asked for, which no table has
EXPECTED = np.array([[-1, 0], [0.25, 1], [3e-2, 1]], np.float32)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('SNJAX_CACHE', str(tmp_path / 'cache'))


def read(name, text, columns=()):
    return conditions(name, text.encode(), FILES, 'photos', columns)


CSV = 'angle,file,smiles\n0.25,a.png,1\n-1,b.png,0\n3e-2,sub/c.png,1\n'
CELEBA = 'image_id,angle,Male,smiles\nsub/c.png,3e-2,-1,1\nb.png,-1,1,0\na.png,.25,1,1\n'
NAMED = '{"a.png": {"angle": 0.25, "smiles": true}, "b.png": {"angle": -1, "smiles": false},'
NAMED += '"sub/c.png": {"angle": 0.03, "smiles": 1}}'
LISTS = '{"sub/c.png": [0.03, 1], "a.png": [0.25, 1], "b.png": [-1, 0]}'


@pytest.mark.parametrize(
    ('name', 'text', 'columns', 'names'),
    [
        ('conditions.csv', CSV, (), ('angle', 'smiles')),
        ('conditions.csv', CSV.replace(',', ';'), (), ('angle', 'smiles')),
        ('list_attr.csv', CELEBA, ('angle', 'smiles'), ('angle', 'smiles')),
        ('conditions.json', NAMED, (), ('angle', 'smiles')),
        ('conditions.json', LISTS, (), ('0', '1')),
    ],
)
def test_every_table_gives_the_same_numbers(name, text, columns, names):
    found = read(name, text, columns)
    np.testing.assert_array_equal(found.values, EXPECTED)
    assert (found.names, found.table) == (names, name)


def test_columns_come_in_the_order_asked_for():
    found = read('conditions.csv', CSV, ['smiles', 'angle'])
    np.testing.assert_array_equal(found.values, EXPECTED[:, ::-1])
    assert found.names == ('smiles', 'angle')


@pytest.mark.parametrize(
    ('text', 'columns', 'message'),
    [
        (CSV.replace('-1,b', 'left,b'), (), "row 3, column 'angle' is 'left': a finite number"),
        (CSV.replace('-1,b', 'nan,b'), (), "row 3, column 'angle' is 'nan': a finite number"),
        (CSV.replace('-1,b', ',b'), (), "row 3, column 'angle' is '': a finite number"),
        (CSV.replace('-1,b', '1e40,b'), (), "row 3, column 'angle' is '1e40': a finite number"),
        (CSV.replace('b.png,0', 'b.png'), (), 'row 3 has 2 columns, and row 1 3'),
        (CSV.replace('b.png', 'd.png'), (), "row 3: there is no image 'd.png'"),
        (CSV.replace('b.png', 'a.png'), (), "row 3: image 'a.png' is in row 2 already"),
        (CSV[: CSV.index('3e-2')], (), "has no row for 1 of 3 images: 'sub/c.png'"),
        (CSV.replace('file', 'name'), (), 'row 1 has no columns named file, filename'),
        (CSV, ['age'], "which has no column 'age' (its columns: 'angle', 'smiles')"),
        ('file\na.png\nb.png\nsub/c.png\n', (), 'which has 0 numbers a row'),
        ('', (), 'row 1 has no columns named file'),
    ],
)
def test_a_malformed_csv_is_one_line_with_row_and_column(text, columns, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        read('conditions.csv', text, columns)
    assert str(error.value).startswith('conditions.csv in photos, ')
    assert '--config.data.conditions=' in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{}', 'which has no entries'),
        ('{"a.png": 3}', 'entry 1 is'),
        (LISTS.replace('[0.25, 1]', '[0.25]'), 'entry 2 is'),
        (LISTS.replace('[0.25, 1]', '[0.25, "x"]'), "entry 2, column '1' is 'x': a finite number"),
        (LISTS.replace('0.25', '1' + '0' * 400), "entry 2, column '0' is 1000"),
        (LISTS.replace('[0.25, 1]', '[[0.25], 1]'), "entry 2, column '0' is [0.25]: a finite"),
        (NAMED.replace('"angle": -1', '"age": -1'), 'entry 2 is'),
        ('[1', 'row 1, column 3'),
    ],
)
def test_a_malformed_json_is_one_line_with_its_entry(text, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        read('conditions.json', text)
    assert '\n' not in str(error.value)


# ---- sets


@pytest.fixture
def folder(tmp_path):
    for value, name in enumerate(FILES):
        path = tmp_path / 'photos' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (8, 8), (value, 0, 0)).save(path)
    (tmp_path / 'photos/conditions.csv').write_text(CSV)
    return tmp_path / 'photos'


def load(path, **options):
    options = {'conditions': '', **options}
    return data.load('folder', path=str(path), image_size=8, **options)


def test_a_folder_and_its_archive_have_the_numbers_beside_their_images(folder, tmp_path):
    with zipfile.ZipFile(tmp_path / 'photos.zip', 'w') as archive:
        for path in sorted(folder.rglob('*.*')):
            archive.write(path, path.relative_to(folder))
    for found in (
        load(folder),
        load(folder),  # from the cache
        load(folder, decode_later=True),
        load(tmp_path / 'photos.zip'),
    ):
        images = np.asarray(found.images[:])
        np.testing.assert_array_equal(found.conditions, EXPECTED[images[:, 0, 0, 0]])
        assert found.condition_names == ('angle', 'smiles')
        assert not found.class_names and not found.conditions.flags.writeable
        assert found.labels_for(2) is found.conditions and found.labels_for(0) is found.labels
    there, packed = load(folder), load(tmp_path / 'photos.zip')
    assert there.sha256 == packed.sha256 and there.conditions_sha256 == packed.conditions_sha256


def test_classes_and_numbers_may_stand_side_by_side(folder):
    (folder / 'labels.csv').write_text('file,label\nb.png,x\na.png,y\nsub/c.png,x\n')
    found = load(folder, conditions='conditions.csv:smiles')
    assert found.class_names == ('x', 'y') and found.condition_names == ('smiles',)
    images = np.asarray(found.images)[:, 0, 0, 0]
    np.testing.assert_array_equal(found.conditions[:, 0], EXPECTED[images, 1])
    assert [found.class_names[i] for i in found.labels] == ['xyx'[i] for i in images]


def test_other_numbers_have_another_hash_and_the_images_the_same(folder):
    before = load(folder)
    hashes = {before.conditions_sha256}
    for text in (CSV.replace('0.25', '0.26'), CSV.replace('angle', 'age')):
        (folder / 'conditions.csv').write_text(text)
        after = load(folder)
        assert (after.sha256, after.files_sha256) == (before.sha256, before.files_sha256)
        hashes.add(after.conditions_sha256)
    hashes.add(load(folder, conditions='conditions.csv:smiles').conditions_sha256)
    assert len(hashes) == 4


def test_a_table_that_no_model_takes_is_not_read(folder, tmp_path):
    before = load(folder)
    (folder / 'conditions.csv').write_text('of another program')
    found = load(folder, conditions=None)
    assert found.conditions is None and not found.conditions_sha256
    assert (found.sha256, found.files_sha256) == (before.sha256, before.files_sha256)
    config = {'data': {'name': 'folder', 'path': str(folder), 'image_size': 8, 'conditions': ''}}
    assert from_config.image_set(config).sha256 == before.sha256
    with pytest.raises(ValueError, match='row 1 has no columns named file'):
        from_config.image_set(config | {'model': {'num_conditions': 2}})
    np.savez(tmp_path / 'a.npz', images=np.zeros((3, 8, 8, 3), np.uint8), conditions=['of', 'it'])
    assert data.load('npz', path=str(tmp_path / 'a.npz'), image_size=8).conditions is None


@pytest.mark.parametrize(
    ('asked', 'message'),
    [('nowhere.csv', "data.conditions is 'nowhere.csv'"), ('a.png', "data.conditions is 'a.png'")],
)
def test_a_table_that_is_not_there_is_named(folder, asked, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        load(folder, conditions=asked)


def test_two_tables_are_not_chosen_between(folder):
    (folder / 'conditions.json').write_text(LISTS)
    with pytest.raises(ValueError, match=r'conditions\.csv and conditions\.json; say which'):
        load(folder)


def test_numbers_of_images_that_were_left_out_are_refused(folder):
    (folder / 'a.png').write_bytes(b'broken')
    with pytest.raises(ValueError, match='numbers for 3 images, and 2 images'):
        load(folder, skip_broken=True)


@pytest.mark.parametrize(('wanted', 'message'), [(3, 'has 2 numbers'), (1, 'angle, smiles')])
def test_another_number_of_numbers_names_those_there(folder, wanted, message):
    with pytest.raises(ValueError, match=message):
        load(folder).labels_for(wanted)


def test_a_set_without_numbers_says_where_to_put_them():
    found = data.load('digits', image_size=8, channels=1)
    with pytest.raises(ValueError, match=r'digits has no numbers: give a table conditions\.csv'):
        found.labels_for(1)
    with pytest.raises(ValueError, match="the set 'digits' takes no table of numbers"):
        data.load('digits', image_size=8, channels=1, conditions='conditions.csv')


# ---- arrays


def save(path, **arrays):
    np.savez(path, images=np.zeros((3, 8, 8, 3), np.uint8), **arrays)
    return data.load('npz', path=str(path), image_size=8, conditions='')


def test_an_npz_has_them_as_an_array(tmp_path):
    found = save(tmp_path / 'a.npz', conditions=EXPECTED, condition_names=['angle', 'smiles'])
    np.testing.assert_array_equal(found.conditions, EXPECTED)
    assert found.condition_names == ('angle', 'smiles')
    one = save(tmp_path / 'b.npz', conditions=np.arange(3))
    np.testing.assert_array_equal(one.conditions, [[0], [1], [2]])
    assert one.condition_names == ('0',) and one.conditions_sha256 != found.conditions_sha256
    assert sets.condition_names('npz', str(tmp_path / 'a.npz')) == ('angle', 'smiles')
    resized = data.load('npz', path=str(tmp_path / 'a.npz'), image_size=4, conditions='')
    np.testing.assert_array_equal(resized.conditions, EXPECTED)


@pytest.mark.parametrize(
    ('arrays', 'message'),
    [
        ({'conditions': np.zeros((2, 1))}, r'float64 \(2, 1\); accepted: numbers \(3, k\)'),
        ({'conditions': np.array(['a', 'b', 'c'])}, r'accepted: numbers \(3, k\)'),
        ({'conditions': np.array([0, np.nan, 1])}, '1 values that are not finite'),
        ({'conditions': np.array([0, 1e300, 1])}, '1 values that are not finite'),
        ({'conditions': np.zeros(3), 'condition_names': ['a', 'b']}, 'names 2 conditions'),
    ],
)
def test_other_arrays_are_refused(tmp_path, arrays, message):
    with pytest.raises(ValueError, match=message):
        save(tmp_path / 'a.npz', **arrays)
