"""Files as `torch.save` writes them, without PyTorch: a zip archive, or its form before 1.6."""

import collections
import contextlib
import io
import pickle
import sys
import types
import zipfile

import numpy as np

_NAMES = {np.dtype(np.float32): 'FloatStorage', np.dtype(np.int64): 'LongStorage'}


@contextlib.contextmanager
def _torch():
    """Modules with the names that the pickle refers to."""
    torch, utils = types.ModuleType('torch'), types.ModuleType('torch._utils')

    def rebuild(*args):
        raise AssertionError('only named')

    rebuild.__module__, rebuild.__qualname__ = 'torch._utils', '_rebuild_tensor_v2'
    rebuild.__name__ = '_rebuild_tensor_v2'
    utils._rebuild_tensor_v2 = rebuild
    for name in _NAMES.values():
        setattr(torch, name, type(name, (), {'__module__': 'torch'}))
    before = {name: sys.modules.get(name) for name in ('torch', 'torch._utils')}
    sys.modules.update({'torch': torch, 'torch._utils': utils})
    try:
        yield torch, rebuild
    finally:
        for name, module in before.items():
            sys.modules.pop(name)
            if module is not None:
                sys.modules[name] = module


class _Tensor:
    """An array that is pickled as a tensor."""

    def __init__(self, key, values):
        self.key, self.values = key, values


def _pickled(tree, torch, rebuild, *, is_older):
    """The pickle of a tree, and the arrays by their keys."""
    arrays = {}

    class Storage:
        def __init__(self, tensor):
            self.tensor = tensor

    def tensors(node):
        if isinstance(node, np.ndarray):
            tensor = _Tensor(str(len(arrays)), node)
            arrays[tensor.key] = node
            return tensor
        if isinstance(node, dict):
            return collections.OrderedDict((k, tensors(v)) for k, v in node.items())
        return node

    class Pickler(pickle.Pickler):
        def persistent_id(self, thing):
            if not isinstance(thing, Storage):
                return None
            tensor = thing.tensor
            kind = getattr(torch, _NAMES[tensor.values.dtype])
            found = ('storage', kind, tensor.key, 'cpu', tensor.values.size)
            return (*found, None) if is_older else found

        def reducer_override(self, thing):
            if not isinstance(thing, _Tensor):
                return NotImplemented
            shape = thing.values.shape
            strides = tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))
            hooks = collections.OrderedDict()
            return rebuild, (Storage(thing), 0, shape, strides, False, hooks)

    out = io.BytesIO()
    Pickler(out, 2).dump(tensors(tree))
    return out.getvalue(), arrays


def write(path, tree):
    """Writes nested dicts of arrays and numbers as PyTorch 1.6 and later do."""
    with _torch() as names:
        content, arrays = _pickled(tree, *names, is_older=False)
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('netG/data.pkl', content)
        archive.writestr('netG/byteorder', 'little')
        for key, values in arrays.items():
            archive.writestr(f'netG/data/{key}', values.tobytes())
        archive.writestr('netG/version', '3\n')
    return path


def write_older(path, tree):
    """Writes them as PyTorch before 1.6 did."""
    with _torch() as names:
        content, arrays = _pickled(tree, *names, is_older=True)
    head = [0x1950A86A20F9469CFC6C, 1001, {'little_endian': True, 'protocol_version': 1001}]
    parts = [*(pickle.dumps(x, 2) for x in head), content, pickle.dumps(list(arrays), 2)]
    for values in arrays.values():
        parts += [values.size.to_bytes(8, 'little'), values.tobytes()]
    path.write_bytes(b''.join(parts))
    return path
