"""One small set of images with classes in every form in which a user may have it."""

import csv
import io
import json
import pathlib
import shutil
import zipfile
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

CLASSES = ('ant', 'bee-2', 'bee', 'cow')  # 'bee-2/' is before 'bee/', and the class 'bee' is first
SIZE = 16  # pixels


def pictures(num: int = 16) -> Iterator[tuple[str, str, bytes]]:
    """(class, name of the file, PNG) of images of which no two are alike, by class and name."""
    rng = np.random.default_rng(0)
    for i in range(num):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8)).save(buffer, 'PNG')
        yield CLASSES[i * len(CLASSES) // num], f'{i:03d}.png', buffer.getvalue()


def in_folders(root: pathlib.Path) -> pathlib.Path:
    for kind, name, content in pictures():
        (root / kind).mkdir(parents=True, exist_ok=True)
        (root / kind / name).write_bytes(content)
    return root


def flat(root: pathlib.Path) -> pathlib.Path:
    """All images in one folder, in which their order is another."""
    root.mkdir(parents=True)
    for kind, name, content in pictures():
        (root / flat_name(kind, name)).write_bytes(content)
    return root


def flat_name(kind: str, name: str) -> str:
    return f'{9 - CLASSES.index(kind)}{name}'


def rows() -> list[tuple[str, str]]:
    """(name, class) of the images of `flat`."""
    return [(flat_name(kind, name), kind) for kind, name, _ in pictures()]


def flat_csv(root: pathlib.Path) -> pathlib.Path:
    with open(flat(root) / 'labels.csv', 'w', newline='') as file:
        csv.writer(file).writerows([('file', 'label'), *reversed(rows())])
    return root


def folders_csv(root: pathlib.Path) -> pathlib.Path:
    """As a spreadsheet may write it: other columns, semicolons, spaces, a mark of UTF-8."""
    lines = [f'{kind}\\{name}; x; {kind} ' for kind, name, _ in pictures()]
    (in_folders(root) / 'labels.csv').write_text(
        '\n'.join(['Filename;more;Class', *lines]), 'utf-8-sig'
    )
    return root


def flat_json(root: pathlib.Path) -> pathlib.Path:
    (flat(root) / 'labels.json').write_text(json.dumps(dict(rows())))
    return root


def records_json(root: pathlib.Path) -> pathlib.Path:
    records = [{'label': kind, 'image': f'./{name}', 'id': 3} for name, kind in rows()]
    (flat(root) / 'labels.json').write_text(json.dumps(records))
    return root


def stylegan(root: pathlib.Path) -> pathlib.Path:
    """StyleGAN's layout and its dataset.json, whose classes are numbers."""
    labels, order = [], sorted(CLASSES)
    for i, (kind, _, content) in enumerate(sorted(pictures(), key=lambda x: f'{x[0]}/{x[1]}')):
        name = f'{i // 10:05d}/img{i:08d}.png'
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
        labels.append([name, order.index(kind)])
    (root / 'dataset.json').write_text(json.dumps({'labels': labels}))
    return root


def zipped(form: Callable[[pathlib.Path], pathlib.Path], *, with_folder: bool = False):
    def write(root: pathlib.Path) -> pathlib.Path:
        folder = form(root.with_name(root.name + '-files') / 'photos')
        path = root.with_suffix('.zip')
        with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(folder.rglob('*'), reverse=True):
                archive.write(file, file.relative_to(folder.parent if with_folder else folder))
        shutil.rmtree(folder)
        return path

    return write


def table(*, names: tuple[str, ...] | None = None, **columns) -> pa.Table:
    """A table as `datasets` writes it: its features stand in the metadata of the schema."""
    features = {'image': {'_type': 'Image'}, 'label': {'names': names, '_type': 'ClassLabel'}}
    found = pa.table(columns)
    if names is None:
        return found
    meta = {'huggingface': json.dumps({'info': {'features': features}})}
    return found.replace_schema_metadata(meta)


def columns() -> dict[str, pa.Array]:
    """In the order of `datasets` for a folder: that of the sorted paths."""
    there = sorted(pictures(), key=lambda x: f'{x[0]}/{x[1]}')
    kind = pa.struct({'bytes': pa.binary(), 'path': pa.string()})
    images = pa.array([{'bytes': content, 'path': name} for _, name, content in there], kind)
    return {'image': images, 'label': pa.array([k for k, _, _ in there])}


def parquet(root: pathlib.Path) -> pathlib.Path:
    """Two files of small row groups, and a third of another split."""
    names, found = tuple(sorted(CLASSES)), columns()
    found['label'] = pa.array([names.index(k) for k in found['label'].to_pylist()])
    whole = table(names=names, **found)
    (root / 'data').mkdir(parents=True)
    for i, part in enumerate((whole[:11], whole[11:])):
        pq.write_table(part, root / 'data' / f'train-0000{i}-of-00002.parquet', row_group_size=3)
    pq.write_table(whole[:2], root / 'data' / 'test-00000-of-00001.parquet')
    return root


def plain_parquet(root: pathlib.Path) -> pathlib.Path:
    """Encoded bytes and names of classes, without a word of `datasets`."""
    found = columns()
    images = pa.array([cell['bytes'] for cell in found['image'].to_pylist()])
    pq.write_table(table(img=images, label=found['label']), root.with_suffix('.parquet'))
    return root.with_suffix('.parquet')


# Each writes the set to a path like the given one and returns where it is.
FORMS: dict[str, Callable[[pathlib.Path], pathlib.Path]] = {
    'folders': in_folders,
    'csv': flat_csv,
    'csv beside folders': folders_csv,
    'json': flat_json,
    'json of records': records_json,
    'StyleGAN': stylegan,
    'zip of folders': zipped(in_folders),
    'zip of a folder': zipped(in_folders, with_folder=True),
    'zip with csv': zipped(flat_csv),
    'zip of StyleGAN': zipped(stylegan),
    'parquet': parquet,
    'plain parquet': plain_parquet,
}
