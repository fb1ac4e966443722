"""Folders with tables, zip archives and Parquet files: the same set in each, and malformed ones."""

import json
import os
import pathlib
import stat
import sys
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from helpers import own_images
from snjax import data
from snjax.data import encoded, parquet_file, sets, zip_files


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('SNJAX_CACHE', str(tmp_path / 'cache'))


def load(path, **options):
    options = {'image_size': own_images.SIZE, **options}
    return data.load(sets.name_of(str(path)), path=str(path), **options)


@pytest.fixture(scope='module')
def forms(tmp_path_factory):
    root = tmp_path_factory.mktemp('forms')
    return {name: write(root / name.replace(' ', '-')) for name, write in own_images.FORMS.items()}


# ---- the same set


@pytest.mark.parametrize('form', own_images.FORMS)
def test_every_form_is_the_same_set_in_the_same_order(forms, form):
    expected, found = load(forms['folders']), load(forms[form])
    np.testing.assert_array_equal(found.images, expected.images)
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert found.sha256 == expected.sha256
    names = ('0', '1', '2', '3') if 'StyleGAN' in form else ('ant', 'bee', 'bee-2', 'cow')
    assert found.class_names == names
    again = load(forms[form])  # from the cache
    assert (again.sha256, again.class_names) == (expected.sha256, names)
    assert isinstance(again.images, np.memmap)


@pytest.mark.parametrize('form', [form for form in own_images.FORMS if 'parquet' not in form])
def test_images_decoded_later_are_the_same(forms, form):
    expected, found = load(forms['folders']), load(forms[form], decode_later=True)
    np.testing.assert_array_equal(found.images[:], expected.images)
    np.testing.assert_array_equal(found.labels, expected.labels)


def test_an_archive_of_folders_is_known_by_the_names_and_sizes_of_its_files(forms):
    folder, archive = load(forms['folders']), load(forms['zip of a folder'])
    assert archive.names == folder.names
    assert archive.files_sha256 == folder.files_sha256


def test_other_labels_are_another_set_decoded_or_not(forms, tmp_path):
    root = own_images.flat_csv(tmp_path / 'flat')
    before = [load(root), load(root, decode_later=True)]
    table = (root / 'labels.csv').read_text()
    (root / 'labels.csv').write_text(table.replace('cow', 'bee'))
    after = [load(root), load(root, decode_later=True)]
    for old, new in zip(before, after, strict=True):
        assert old.sha256 != new.sha256 and old.files_sha256 != new.files_sha256
        assert len(new.class_names) == 3


def test_the_subfolders_can_be_chosen_and_the_table_too(tmp_path):
    root = own_images.folders_csv(tmp_path / 'set')
    (root / 'labels.csv').write_text('what')
    (root / 'other.json').write_text(
        json.dumps({f'{k}/{n}': 'x' for k, n, _ in own_images.pictures()})
    )
    assert load(root, labels='folders').class_names == ('ant', 'bee', 'bee-2', 'cow')
    assert load(root, labels='other.json').class_names == ('x',)


def test_numbers_are_sorted_by_their_value(tmp_path):
    root = own_images.flat(tmp_path / 'set')
    rows = [f'{name},{(7 * i) % 12}' for i, (name, _) in enumerate(own_images.rows())]
    (root / 'labels.csv').write_text('\n'.join(['file,label', *rows]))
    found = load(root)
    assert found.class_names == tuple(map(str, range(12)))
    assert list(found.labels) == sorted(found.labels)


def test_stylegan_says_that_there_are_no_labels(tmp_path):
    root = own_images.stylegan(tmp_path / 'set')
    (root / 'dataset.json').write_text('{"labels": null}')
    found = load(root)
    assert found.class_names == () and not found.labels.any()


def test_a_column_that_tells_images_apart_is_doubted(tmp_path, caplog):
    root = own_images.flat(tmp_path / 'set')
    rows = [f'{name},{name}' for name, _ in own_images.rows()]
    (root / 'labels.csv').write_text('\n'.join(['file,label', *rows]))
    load(root)
    assert 'has 16 classes for 16 images: are these classes?' in caplog.text


@pytest.mark.parametrize('form', ['csv', 'zip with csv', 'parquet'])
def test_classes_are_counted_without_decoding(forms, form, monkeypatch):
    monkeypatch.setattr(encoded, '_decode', None)
    path = str(forms[form])
    assert sets.class_names(sets.name_of(path), path) == ('ant', 'bee', 'bee-2', 'cow')


@pytest.mark.parametrize('form', ['zip of folders', 'csv', 'parquet'])
def test_a_broken_image_is_named_and_can_be_left_out(tmp_path, form, caplog):
    path = own_images.FORMS[form](tmp_path / 'set')
    if form == 'csv':
        (path / '9003.png').write_bytes(b'broken')
    elif form == 'parquet':
        file = path / 'data' / 'train-00000-of-00002.parquet'
        cells = pq.read_table(file).to_pydict()
        cells['image'][3]['bytes'] = b'broken'
        cells['image'][4]['bytes'] = None
        pq.write_table(pa.table(cells, pq.read_schema(file)), file)
    else:
        replace_member(path, 'ant/003.png', b'broken')
    name = {'csv': '9003', 'parquet': r'data/train-00000-of-00002\.parquet, row 4'}.get(
        form, 'ant/003'
    )
    with pytest.raises(ValueError, match=rf'{name}.* is broken .*skip_broken=True'):
        load(path)
    num_broken = 1 + (form == 'parquet')
    found = load(path, skip_broken=True)
    assert len(found.images) == len(found.labels) == 16 - num_broken
    assert f'left out {num_broken} broken of 16' in caplog.text


def replace_member(path, name, content):
    with zipfile.ZipFile(path) as archive:
        members = {member: archive.read(member) for member in archive.namelist()}
    with zipfile.ZipFile(path, 'w') as archive:
        for member in members:
            archive.writestr(member, content if member == name else members[member])


# ---- malformed tables

CSV = {
    'empty': ('', 'which has no rows: one for each image is needed'),
    'a header alone': ('file,label\n', 'which has no rows'),
    'no header': ('a.png,x\nb.png,y\n', r"row 1 has no columns named file, .*'a.png', 'x'\)"),
    'two headers': ('file,label,class\n', r'row 1 has 2 columns named label, class, '),
    'a short row': ('file,label\na.png,x\nb.png\n', 'row 3 has 1 columns, and row 1 2'),
    'a long row': ('file,label\na.png,x,y\n', 'row 2 has 3 columns, and row 1 2'),
    'no class': ('file,label\na.png,x\nb.png, \n', "row 3, column 'label' is empty"),
    'no file': ('file,label\n,x\n', "row 2, column 'file' is empty"),
    'an unknown image': (
        'file,label\na.png,x\n\nc.png,y\n',
        r"row 4, column 'file': there is no image 'c\.png';",
    ),
    'another ending': (
        'file,label\nA.JPG,x\n',
        r"row 2, column 'file': there is no image 'A\.JPG' \(did you mean 'a\.png'\?\)",
    ),
    'without its folder': (
        'file,label\nd.png,x\n',
        r"row 2, .* image 'd\.png' \(did you mean 'sub/d\.png'\?\)",
    ),
    'a way out': ('file,label\n../a.png,x\n', r"row 2, .* no image '\.\./a\.png'"),
    'twice': (
        'file,label\na.png,x\nb.png,y\n./a.png,y\n',
        r"row 4, .*: image '\./a\.png' is in row 2, column 'file' already",
    ),
    'one too few': (
        'file,label\na.png,x\n',
        r"which has no row for 2 of 3 images: 'b\.png', 'sub/d\.png';",
    ),
    'an open quote': ('file,label\n"a.png,x\n', 'row 2: unexpected end of data'),
    'an endless cell': (
        'file,label\na.png,' + 'x' * 200_000,
        'row 2: field larger than field limit',
    ),
}
JSON = {
    'empty': ('', 'row 1, column 1: Expecting value'),
    'cut off': ('{"a.png": "x",\n "b.png', r'row 2, column 2: Unterminated string'),
    'a number': ('3', 'row 1: neither an object nor a list'),
    'nothing': ('{}', 'which has no rows'),
    'no labels': ('{"labels": []}', 'which has no rows'),
    'no pair': (
        '{"labels": [["a.png", 1], ["b.png"]]}',
        r"entry 2 is \['b\.png'\]: a file and its",
    ),
    'no file': ('[["a.png", 1], [7, 1]]', 'entry 2, file is 7: the name of an image'),
    'a fraction': ('{"labels": [["a.png", 1.5]]}', 'entry 1, label is 1.5: a whole number from 0'),
    'no number': ('{"labels": [["a.png", NaN]]}', 'entry 1, label is nan: a whole number'),
    'a negative number': ('{"a.png": -1}', 'entry 1, label is -1: a whole number'),
    'truth': ('{"a.png": true}', 'entry 1, label is True'),
    'null': ('{"a.png": null}', 'entry 1, label is None'),
    'an empty name': ('{"a.png": " "}', "entry 1, label is ' '"),
    'a vector': ('{"labels": [["a.png", [0, 1]]]}', r'entry 1, label is \[0, 1\]: a whole number'),
    'twice': (
        '{"a.png": 1, "a.png": 2}',
        r"entry 2: image 'a\.png' is in entry 1 already",
    ),
    'records without a class': ('[{"file": "a.png"}]', 'entry 1 has no columns named label,'),
    'an abyss': ('[' * 100_000, 'row 1: '),
    'an endless number': ('{"a.png": ' + '9' * 10_000 + '}', 'row 1: Exceeds the limit'),
}
BYTES = {
    'labels.csv': [
        (b'file,label\na.png,caf\xe9\n', 'row 2, byte 10: 0xe9 is no UTF-8; save it as UTF-8'),
        ('file,label\n'.encode('utf-16'), 'row 1: the text is UTF-16; save it as UTF-8'),
    ],
    'labels.json': [(b'{"a.png":\n "\xff"}', 'row 2, byte 3: 0xff is no UTF-8')],
}
TABLES = [
    *((f'csv: {name}', 'labels.csv', text.encode(), words) for name, (text, words) in CSV.items()),
    *((f'json: {name}', 'labels.json', t.encode(), words) for name, (t, words) in JSON.items()),
    *((f'bytes {i}: {n}', n, *case) for n, cases in BYTES.items() for i, case in enumerate(cases)),
]


@pytest.fixture
def three(tmp_path):
    root = tmp_path / 'three'
    (root / 'sub').mkdir(parents=True)
    for name in ('a.png', 'b.png', 'sub/d.png'):
        Image.new('RGB', (16, 16)).save(root / name)
    return root


@pytest.mark.parametrize(
    ('table', 'content', 'words'), [t[1:] for t in TABLES], ids=[t[0] for t in TABLES]
)
def test_a_malformed_table_is_one_line(three, table, content, words):
    (three / table).write_bytes(content)
    with pytest.raises(ValueError, match=rf'^{table} in {three}, {words}') as caught:
        load(three)
    assert '\n' not in str(caught.value) and len(str(caught.value)) < 1000
    assert str(caught.value).endswith('with --config.data.labels=folders')
    assert load(three, labels='folders').class_names == ()


def test_tables_that_are_not_there_or_two(three):
    for labels in ('mine.csv', 'a.png', 'sub'):
        with pytest.raises(
            ValueError, match=rf"data\.labels is '{labels}': the name of a \.csv or"
        ):
            load(three, labels=labels)
    for name in ('labels.csv', 'dataset.json'):
        (three / name).write_text('')
    with pytest.raises(ValueError, match=r'labels\.csv and dataset\.json; .*labels=labels\.csv'):
        load(three)
    with pytest.raises(
        ValueError, match=r"'digits' has labels of its own, but data\.labels is 'x'"
    ):
        data.load('digits', image_size=8, labels='x')


def test_a_table_larger_than_any_is_not_read(three, monkeypatch):
    (three / 'labels.csv').touch()
    os.truncate(three / 'labels.csv', 1 << 40)
    with pytest.raises(ValueError, match=r'labels\.csv in .* has 1,099,512 MB, which no table'):
        load(three)


# ---- archives of other people


def archive(path, *members, content=b'', **attributes):
    """An archive of empty members and one good image; attributes are those of its members."""
    good = next(own_images.pictures())[2]
    with zipfile.ZipFile(path, 'w') as file:
        file.writestr('cat/a.png', good)
        for name in members:
            member = zipfile.ZipInfo(name)
            for attribute, value in attributes.items():
                setattr(member, attribute, value)
            file.writestr(member, content)
    return path


@pytest.mark.parametrize('name', ['../x.png', 'a/../../x.png', '/x.png', 'C:\\x.png', '..\\x.png'])
def test_a_name_that_leads_out_of_an_archive_is_refused(tmp_path, name):
    with pytest.raises(
        ValueError, match=r'x\.zip has a member .* leads out of the archive; unpack'
    ):
        load(archive(tmp_path / 'x.zip', name))


@pytest.mark.filterwarnings('ignore:Duplicate name')
def test_a_name_that_is_there_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"a member 'cat/b\.png' that is there twice"):
        load(archive(tmp_path / 'x.zip', 'cat/b.png', 'cat/b.png'))


def test_an_encrypted_member_is_refused(tmp_path):
    path = archive(tmp_path / 'x.zip', 'cat/b.png')
    content = bytearray(path.read_bytes())
    at = content.rindex(b'PK\x01\x02')  # the entry of the last member in the directory
    content[at + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"'cat/b\.png' that is encrypted; unpack"):
        load(path)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    path = tmp_path / 'x.zip'
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as file:
        file.writestr('cat/b.png', bytes(20_000_000))
    assert path.stat().st_size < 30_000
    monkeypatch.setattr(zip_files, 'MAX_MEMBER_BYTES', 10_000_000)
    with pytest.raises(
        ValueError, match=r"'cat/b\.png' that would be 20 MB, and at most 10 are unp"
    ):
        load(path)
    # And one that says that it is small is not unpacked further than it says.
    content = bytearray(path.read_bytes())
    at = content.rindex(b'PK\x01\x02')
    content[at + 24 : at + 28] = (1000).to_bytes(4, 'little')
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r'b\.png is broken \(Bad CRC-32'):
        load(path)


def test_a_method_that_cannot_be_stopped_is_refused(tmp_path):
    path = tmp_path / 'x.zip'
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_LZMA) as file:
        file.writestr('cat/b.png', b'x')
    with pytest.raises(ValueError, match=r"'cat/b\.png' that is compressed by method 14; unpack"):
        load(path)


def test_links_hidden_files_and_archives_in_archives_are_passed_over(tmp_path, caplog):
    path = archive(tmp_path / 'x.zip', 'cat/b.png', external_attr=(stat.S_IFLNK | 0o777) << 16)
    with zipfile.ZipFile(path, 'a') as file:
        for name in ('more.zip', '__MACOSX/cat/._a.png', 'cat/.b.png', 'readme.txt', 'dog/'):
            file.writestr(name, b'x')
    assert len(load(path).images) == 1
    assert '2 of 3 files in ' in caplog.text and 'link 1' in caplog.text and '.zip 1' in caplog.text


@pytest.mark.parametrize('content', [b'', b'PK\x03\x04 cut off', b'PK\x05\x06' + bytes(18)])
def test_what_is_no_archive_is_one_line(tmp_path, content):
    (tmp_path / 'x.zip').write_bytes(content)
    with pytest.raises(
        ValueError, match=r'x\.zip (cannot be read as a zip|has no images)'
    ) as caught:
        load(tmp_path / 'x.zip')
    assert '\n' not in str(caught.value)


def test_a_damaged_table_in_an_archive_is_one_line(tmp_path):
    path = own_images.zipped(own_images.flat_csv)(tmp_path / 'x')
    content = path.read_bytes()
    with zipfile.ZipFile(path) as file:
        at = file.getinfo('labels.csv').header_offset + 60
    path.write_bytes(content[:at] + bytes(20) + content[at + 20 :])
    with pytest.raises(ValueError, match=r"a member 'labels\.csv' that is damaged \(") as caught:
        load(path)
    assert '\n' not in str(caught.value)


# ---- Parquet of other people


def written(path: pathlib.Path, **columns) -> pathlib.Path:
    pq.write_table(pa.table(columns), path)
    return path


GOOD = [next(own_images.pictures())[2]] * 3
ROWS = r'{file}, row {row}, column {column} is {cell}: '
PARQUET = {
    'no images': ({'label': [1, 2, 3]}, {}, r'has no columns of encoded images \(its columns: label\)'),
    'two images': ({'a': GOOD, 'b': GOOD}, {}, r'has 2 columns of encoded images \(its columns: a, b'),
    'no rows': ({'image': pa.array([], pa.binary())}, {}, 'has no rows'),
    'no such column': ({'image': GOOD, 'x': [1, 2, 3]}, {'labels': 'y'}, r"is 'y', but .*one of x; set"),
    'a null': ({'image': GOOD, 'label': [0, None, 1]}, {}, r'row 2, column label is None: a whole num'),
    'a negative number': ({'image': GOOD, 'label': [0, 1, -3]}, {}, r'row 3, column label is -3: a wh'),
    'an empty name': ({'image': GOOD, 'label': ['a', '', 'b']}, {}, r"row 2, column label is '': a who"),
    'decoding later': ({'image': GOOD}, {'decode_later': True}, r'stream=decode .*stream=on'),
}  # fmt: skip


@pytest.mark.parametrize('name', PARQUET)
def test_malformed_parquet_is_one_line(tmp_path, name):
    columns, options, words = PARQUET[name]
    with pytest.raises(ValueError, match=words) as caught:
        load(written(tmp_path / 'x.parquet', **columns), **options)
    assert '\n' not in str(caught.value)


def test_a_label_that_has_no_name_is_refused(tmp_path):
    table = own_images.table(names=('a', 'b'), image=GOOD, label=[0, 1, 2])
    pq.write_table(table, tmp_path / 'x.parquet')
    with pytest.raises(
        ValueError, match=r'x\.parquet, row 3, column label is 2: 0 to 1 is accepted'
    ):
        load(tmp_path / 'x.parquet')


def test_parquet_without_labels_and_with_another_column(tmp_path):
    unlabelled = written(
        tmp_path / 'x.parquet', image=GOOD, label=[-1, -1, -1], kind=['b', 'a', 'b']
    )
    assert load(unlabelled).class_names == ()
    found = load(unlabelled, labels='kind')
    assert found.class_names == ('a', 'b') and list(found.labels) == [1, 0, 1]


def test_splits_of_parquet(forms, tmp_path):
    assert len(load(forms['parquet'], split='test').images) == 2
    with pytest.raises(ValueError, match=r"no files of split 'valid'; accepted: test, train; set"):
        load(forms['parquet'], split='valid')
    with pytest.raises(ValueError, match=r'is no Parquet file and no folder with'):
        data.load('parquet', path=str(tmp_path / 'nowhere'), image_size=8)
    (tmp_path / 'train').mkdir()
    written(tmp_path / 'train' / '0000.parquet', image=GOOD)
    assert len(load(tmp_path).images) == 3


def test_files_of_two_sets_are_not_mixed(tmp_path):
    written(tmp_path / 'train-0.parquet', image=GOOD)
    written(tmp_path / 'train-1.parquet', image=GOOD, label=[1, 2, 3])
    with pytest.raises(ValueError, match=r'train-1\.parquet has the columns image and label, and '):
        load(tmp_path)


@pytest.mark.parametrize('at', [4, -200, -6])
def test_damaged_parquet_is_one_line(forms, tmp_path, at):
    content = bytearray(forms['plain parquet'].read_bytes())
    content[at : at + 4 if at + 4 else None] = b'\xff\xff\xff\xff'
    (tmp_path / 'x.parquet').write_bytes(content)
    with pytest.raises(ValueError, match=r'x\.parquet') as caught:
        load(tmp_path / 'x.parquet')
    assert '\n' not in str(caught.value)


def test_row_groups_larger_than_the_memory_are_refused(forms, monkeypatch):
    monkeypatch.setattr(parquet_file.host, 'memory', lambda: 1000)
    with pytest.raises(
        ValueError, match=r'column img has row groups of 0\.0 GB, which do not fit in'
    ):
        load(forms['plain parquet'])


def test_without_pyarrow_the_extra_is_named(forms, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pyarrow.parquet', None)
    with pytest.raises(ValueError, match=r'needs pyarrow.*pip install pyarrow'):
        load(forms['parquet'])
