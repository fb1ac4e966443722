"""The arrays of PyTorch's files, without PyTorch, and without running what a file names.

`torch.save` writes a pickle that refers to the arrays, and the arrays: since PyTorch 1.6 in a zip
archive, before that one after the other. A pickle may name any function of any module. This reader
knows dictionaries, numbers, texts and tensors on a CPU or GPU, and refuses all else.
"""

import collections
import os
import pathlib
import pickle
import zipfile
from collections.abc import Callable
from typing import IO, Any

import numpy as np

_TYPES = {
    'DoubleStorage': '<f8',
    'FloatStorage': '<f4',
    'HalfStorage': '<f2',
    'LongStorage': '<i8',
    'IntStorage': '<i4',
    'ShortStorage': '<i2',
    'CharStorage': 'i1',
    'ByteStorage': 'u1',
    'BoolStorage': '?',
}
_MAGIC, _VERSION = 0x1950A86A20F9469CFC6C, 1001  # of files before PyTorch 1.6
_BOUND = 256 << 20  # bytes of a pickle, whose arrays are elsewhere
_DAMAGE = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)


def read(path: pathlib.Path) -> Any:
    """What `torch.save` wrote, with NumPy arrays in place of tensors.

    Raises:
        FileNotFoundError: no such file.
        ValueError: of one line: it is no such file, is cut off, or has other objects in it.
    """
    if not path.is_file():
        raise FileNotFoundError(f'{path} is not there: give a file that torch.save wrote')
    try:
        with open(path, 'rb') as file:
            found = _archive(file) if zipfile.is_zipfile(file) else _older(file)
    except _DAMAGE as error:
        words = ' '.join(str(error).split()) or type(error).__name__
        raise ValueError(
            f'{path} is no PyTorch file of arrays, or was cut off ({words}); nothing else is read '
            'from such files, which may hold programs'
        ) from error
    return _owned(found)


class _Reader(pickle.Unpickler):
    """An unpickler that makes dictionaries and arrays alone.

    Args:
        file: with the pickle.
        storage: `storage(key, dtype, size)` gives the values that a tensor refers to.
    """

    def __init__(self, file: Any, storage: Callable[[str, np.dtype, int], np.ndarray]):
        super().__init__(file)
        self._storage = storage

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ('collections', 'OrderedDict'):
            return collections.OrderedDict
        if module == 'torch._utils' and name == '_rebuild_tensor_v2':
            return _tensor
        if module == 'torch._utils' and name == '_rebuild_parameter':
            return _parameter
        if module in ('torch', 'torch.cuda') and name in _TYPES:
            return np.dtype(_TYPES[name])
        raise ValueError(f'it asks for {module}.{name}')

    def persistent_load(self, pid: Any) -> np.ndarray:
        kind, dtype, key, _, size, *view = pid
        if kind != 'storage' or not isinstance(dtype, np.dtype) or any(view) or size < 0:
            raise ValueError('it refers to something that is no array')
        return self._storage(str(key), dtype, size)


def _tensor(storage: np.ndarray, offset: int, shape: Any, strides: Any, *_: Any) -> np.ndarray:
    """A view of a storage; strides and offset count values."""
    if not isinstance(storage, np.ndarray) or len(shape) != len(strides):
        raise ValueError('a tensor without values')
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if min((offset, *shape, *strides)) < 0 or (0 not in shape and last >= storage.size):
        raise ValueError('a tensor reaches beyond its values')
    steps = [stride * storage.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps)


def _parameter(tensor: np.ndarray, *_: Any) -> np.ndarray:
    return tensor


def _archive(file: IO[bytes]) -> Any:
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        (main,) = (name for name in names if name.endswith('/data.pkl') and name.count('/') == 1)
        root = main.removesuffix('data.pkl')
        order = f'{root}byteorder'
        if order in names and _member(archive, order, 16) != b'little':
            raise ValueError('its numbers are big-endian')
        known: dict[str, np.ndarray] = {}

        def storage(key: str, dtype: np.dtype, size: int) -> np.ndarray:
            if key not in known:
                content = _member(archive, f'{root}data/{key}', size * dtype.itemsize)
                known[key] = np.frombuffer(content, dtype, size)
            return known[key]

        with archive.open(_stored(archive, main, _BOUND)) as pickled:
            return _Reader(pickled, storage).load()


def _stored(archive: zipfile.ZipFile, name: str, most: int) -> zipfile.ZipInfo:
    member = archive.getinfo(name)
    if member.compress_type != zipfile.ZIP_STORED or member.file_size > max(most, 16):
        raise ValueError(f'its member {name!r:.60} is compressed or too large')
    return member


def _member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    return archive.read(_stored(archive, name, most))


def _older(file: IO[bytes]) -> Any:
    whole = os.fstat(file.fileno()).st_size
    known: dict[str, np.ndarray] = {}

    def storage(key: str, dtype: np.dtype, size: int) -> np.ndarray:
        if key not in known:
            if sum(values.nbytes for values in known.values()) + size * dtype.itemsize > whole:
                raise ValueError('it has fewer values than its tensors')
            known[key] = np.zeros(size, dtype)  # filled below: the values follow the pickle
        return known[key]

    file.seek(0)
    for expected in (_MAGIC, _VERSION):
        if _Reader(file, storage).load() != expected:
            raise ValueError('it does not begin as one')
    if not _Reader(file, storage).load().get('little_endian', False):
        raise ValueError('its numbers are big-endian')
    found = _Reader(file, storage).load()
    for key in _Reader(file, storage).load():
        values = known[str(key)]
        count = int.from_bytes(file.read(8), 'little')
        content = file.read(values.nbytes)
        if count != values.size or len(content) != values.nbytes:
            raise ValueError('its values end too soon')
        values[...] = np.frombuffer(content, values.dtype)
    return found


def _owned(tree: Any) -> Any:
    """The same with arrays of their own, in C order, so that no view keeps a storage alive."""
    if isinstance(tree, dict):
        return {key: _owned(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_owned(value) for value in tree]
    return np.array(tree, order='C') if isinstance(tree, np.ndarray) else tree
