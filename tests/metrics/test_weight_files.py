"""Files of published weights: both formats, and one-line errors for everything else."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from snjax.metrics import extractors
from snjax.metrics.weight_files import StateDict, WeightFile, read_npz, read_safetensors

ARRAYS = {'kernel': np.arange(6, dtype=np.float32).reshape(2, 3), 'bias': np.zeros(3, np.float32)}
NPZ = WeightFile(read_npz, '.npz of arrays', 'net needs the weights of X', 'copy it again')
SAFETENSORS = WeightFile(read_safetensors, 'net.safetensors', 'net needs Y', 'convert it again')


def test_arrays_and_metadata_come_back(tmp_path):
    np.savez(tmp_path / 'a.npz', **ARRAYS)
    save_file(ARRAYS, tmp_path / 'a.safetensors', {'digest': 'ab12'})
    for file, name, metadata in (
        (NPZ, 'a.npz', {}),
        (SAFETENSORS, 'a.safetensors', {'digest': 'ab12'}),
    ):
        arrays, found = file.read(tmp_path / name)
        assert found == metadata and arrays.keys() == ARRAYS.keys()
        np.testing.assert_array_equal(arrays['kernel'], ARRAYS['kernel'])


@pytest.mark.parametrize('file', [NPZ, SAFETENSORS])
def test_missing_and_other_files_are_one_line(tmp_path, file):
    with pytest.raises(FileNotFoundError, match=f'is not there: {file.needed_for}; --config.eval'):
        file.read(tmp_path / 'none')
    np.save(tmp_path / 'other.npy', ARRAYS['bias'])
    np.savez(tmp_path / 'cut.npz', **ARRAYS)
    whole = (tmp_path / 'cut.npz').read_bytes()
    (tmp_path / 'cut.npz').write_bytes(whole[:-30])
    for name in ('other.npy', 'cut.npz'):
        with pytest.raises(
            ValueError, match=rf'{name} is no {file.kind} \(.*{file.remedy}'
        ) as error:
            file.read(tmp_path / name)
        assert '\n' not in str(error.value)


def test_a_state_dict_names_missing_extra_and_misshapen_arrays():
    published = StateDict({**ARRAYS, 'bn.num_batches_tracked': np.zeros(())}, 'Net')
    with pytest.raises(ValueError, match="not the weights of Net: 'scale' is missing"):
        published['scale']
    published['kernel']
    with pytest.raises(ValueError, match=r"it has no 'bias'$"):
        published.check_all_read()
    published['bias']
    published.check_all_read()
    published.check_shapes(ARRAYS, {'bias': (3,)})
    with pytest.raises(ValueError, match=r"'kernel' would be \(2, 3\), not \(3, 2\)"):
        published.check_shapes(ARRAYS, {'kernel': (3, 2)})


def test_a_file_of_another_kind_that_exists_is_named_itself(tmp_path):
    path = tmp_path / 'some.pth'
    path.write_bytes(b'PK')
    with pytest.raises(ValueError, match=rf'{path} is no .*\.npz.* \(it is no zip archive'):
        extractors.load('cifar_resnet56', path)


def test_pickled_weights_are_refused_without_advice_to_load_them(tmp_path):
    path = tmp_path / 'weights.npz'
    np.savez(path, a=np.array([print], object))
    with pytest.raises(ValueError, match='pickled, which is never loaded') as caught:
        extractors.load('cifar_resnet56', path)
    assert 'allow_pickle' not in str(caught.value)
