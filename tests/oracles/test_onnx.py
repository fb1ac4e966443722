"""Exported ONNX programs in ONNX Runtime, which `make oracles` installs."""

import json

import numpy as np
import pytest

from configs import cgan_cifar, glo_cifar, r3gan_cifar, sagan_cifar, sngan_cifar
from helpers.random_runs import inputs_of, random_run, small

onnxruntime = pytest.importorskip('onnxruntime')
pytest.importorskip('jax2onnx')

CONFIGS = {
    'SNGAN ResNet': small(sngan_cifar, model__gen_width=16),
    'projection cGAN': small(cgan_cifar, model__gen_width=16),
    'GLO': small(glo_cifar, model__gen_width=16),
    'SAGAN': small(sagan_cifar, model__gen_width=16),
    'mimicry': small(sngan_cifar, model__gen_width=16, model__variant='mimicry'),
    'standard CNN': small(sngan_cifar, model__architecture='sngan_cnn'),
    'R3GAN in float32': small(r3gan_cifar, model__gen_width=16, model__dtype='float32'),
    'CNN of WGAN-GP': small(sngan_cifar, model__architecture='wgan_gp_cnn'),
}


@pytest.mark.filterwarnings('default')
@pytest.mark.parametrize('name', CONFIGS)
def test_onnx_runtime_makes_the_images(name, tmp_path, capfd):
    run = random_run(CONFIGS[name])
    path = run.export(tmp_path / 'gen.onnx')
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    assert [x.name for x in session.get_inputs()] == ['z', 'labels'][: 1 + bool(run.num_classes)]
    for num in (1, 5):
        inputs = inputs_of(run, num)
        feed = dict(zip(('z', 'labels'), inputs, strict=False))
        (images,) = session.run(['images'], feed)
        np.testing.assert_allclose(images, run.generate(*inputs), atol=1e-5)
    assert images.std() > 0.1 and (np.abs(images) < 0.99).mean() > 0.4
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about['config']) == run.config and about['step'] == '7'
    assert capfd.readouterr().err == ''  # no warnings of the runtime


@pytest.mark.filterwarnings('default')
def test_a_run_in_bfloat16_becomes_a_program_in_float32(tmp_path):
    narrow = {'model__architecture': 'radford', 'model__gen_width': 16}
    both = [small(sngan_cifar, model__dtype=dtype, **narrow) for dtype in ('bfloat16', 'float32')]
    half, whole = map(random_run, both)
    session = onnxruntime.InferenceSession(half.export(tmp_path / 'gen.onnx'))
    z = half.latents(4)
    (images,) = session.run(['images'], {'z': z})
    np.testing.assert_allclose(images, whole.generate(z), atol=1e-5)
    assert np.abs(images - half.generate(z)).max() > 1e-4
