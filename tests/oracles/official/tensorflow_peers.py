"""Runs WGAN-GP's official script itself, gan_cifar_resnet.py of improved_wgan_training.

    TF_PYTHON tensorflow_peers.py MODEL --checkouts=DIR --out=FILE [--dtype=float64] [--steps=50]

MODEL: acgan, the script with its default values, or wgangp_resnet, with CONDITIONAL = ACGAN =
False. TensorFlow 1.15 needs Python 3.7 or older. lib2to3 turns print statements and xrange into
Python 3; `/` stays a whole number where Python 2 had one. Changed from outside: widths and batch;
channels are moved last for the CPU, which has no other convolution; fused batch norm (float32 on
GPUs alone) by its formula; float32 is float64 in such a run; dequantization adds 0, and everything
else that is drawn comes from `inputs.py`. With one GPU, as with two, the script splits every batch
in two halves whose batch norms know nothing of each other.
"""

import argparse
import importlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import types

import inputs as feed
import numpy as np


class Stop(Exception):
    """Ends the script's loop."""


def modernized(checkouts):
    """A copy of the code that Python 3 can read."""
    folder = os.path.join(tempfile.mkdtemp(), 'code')
    shutil.copytree(os.path.join(checkouts, 'improved_wgan_training'), folder)
    files = [os.path.join(folder, 'gan_cifar_resnet.py'), os.path.join(folder, 'tflib')]
    subprocess.run(
        [sys.executable, '-m', 'lib2to3', '-w', '-n', *files],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return folder


def source(folder, model):
    text = open(os.path.join(folder, 'gan_cifar_resnet.py')).read()
    values = {'DATA_DIR': "'memory'", 'N_GPUS': 1, 'BATCH_SIZE': feed.BATCH}
    values.update(DIM_G=feed.WIDTH, DIM_D=feed.WIDTH)
    if model == 'wgangp_resnet':
        values.update(CONDITIONAL=False, ACGAN=False)
    for name, value in values.items():
        text, count = re.subn(f'(?m)^{name} = .*$', f'{name} = {value}', text, count=1)
        assert count == 1, name
    text = re.sub(r'BATCH_SIZE ?/ ?len', 'BATCH_SIZE//len', text)
    return text.replace('len(DEVICES)/2', 'len(DEVICES)//2')


def stub(name, **members):
    module = types.ModuleType(name)
    module.__dict__.update(members)
    sys.modules[name] = module
    parent, _, child = name.rpartition('.')
    if parent in sys.modules:
        setattr(sys.modules[parent], child, module)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('model', choices=['acgan', 'wgangp_resnet'])
    parser.add_argument('--checkouts', required=True)
    parser.add_argument('--out', required=True)
    parser.add_argument('--dtype', default='float64')
    parser.add_argument('--steps', type=int, default=feed.LAST)
    a = parser.parse_args()
    os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'
    import tensorflow as tf

    folder = modernized(a.checkouts)
    sys.path.insert(0, folder)
    dtype, drawn, out, traces = tf.as_dtype(a.dtype), [], {}, {}
    fed = feed.inputs(a.model, a.steps + 1)

    def channels_last(x):
        return tf.transpose(x, [0, 2, 3, 1])

    def conv2d(input, filter, strides, padding, data_format):
        assert data_format == 'NCHW' and strides == [1, 1, 1, 1]
        y = tf.nn.conv2d(channels_last(input), filter, [1, 1, 1, 1], padding)
        return tf.transpose(y, [0, 3, 1, 2])

    def bias_add(x, b, data_format=None):
        return x + (b[None, :, None, None] if data_format == 'NCHW' else b)

    def fused_batch_norm(x, scale, offset, epsilon, data_format):
        mean, var = tf.nn.moments(x, [0, 2, 3], keep_dims=True)
        scale, offset = scale[None, :, None, None], offset[None, :, None, None]
        return tf.nn.batch_normalization(x, mean, var, offset, scale, epsilon), mean, var

    def drawing(kind):
        def draw(shape, minval=0.0, maxval=1.0):
            variable = tf.Variable(np.zeros(shape), dtype=dtype, trainable=False)
            drawn.append((kind if maxval == 1 else 'dequantize', variable))
            return variable

        return draw

    def adam(learning_rate, **betas):  # numbers of Python's would become float32
        values = {**betas, 'epsilon': 1e-8}
        values = {name: np.dtype(a.dtype).type(value) for name, value in values.items()}
        return tf.train.AdamOptimizer(learning_rate, **values)

    class Session(tf.Session):
        def run(self, fetches, feed_dict=None):
            """The script's call; the losses are fetched beside its training operations."""
            extra = {}
            if feed_dict is not None and isinstance(fetches, list):
                gen = script['gen_train_op'] in fetches
                extra = {
                    'gen_loss' if gen else 'dis_loss': script['gen_cost' if gen else 'disc_cost']
                }
            found, losses = tf.Session.run(self, [fetches, extra], feed_dict)
            for name, value in losses.items():
                traces.setdefault(name, []).append(float(value))
            return found

    class Proxy:
        def __init__(self, of, **members):
            self.__dict__.update(members, _of=of)

        def __getattr__(self, name):
            return getattr(self._of, name)

    nn = Proxy(tf.nn, conv2d=conv2d, bias_add=bias_add, fused_batch_norm=fused_batch_norm)
    proxy = Proxy(
        tf,
        nn=nn,
        float32=dtype,
        maximum=lambda x, y: tf.maximum(tf.cast(x, dtype), y),
        constant=lambda x, **kw: tf.constant(
            x.astype(a.dtype) if getattr(x, 'dtype', '') == 'float32' else x, **kw
        ),
        device=lambda name: tf.device('/cpu:0'),
        train=Proxy(tf.train, AdamOptimizer=adam),
        random_normal=drawing('z'),
        random_uniform=drawing('uniform'),
        Session=Session,
    )
    lib = importlib.import_module('tflib')
    lib.print_model_settings = lambda settings: None
    for name in ('linear', 'cond_batchnorm', 'conv2d', 'batchnorm'):
        importlib.import_module('tflib.ops.' + name).tf = proxy

    def param(name, value, trainable=True):
        """tflib's own, which shares by name; starts as `inputs.start` says."""
        if name not in lib._params:
            value = feed.start(name, np.shape(value)).astype(a.dtype)
            lib._params[name] = tf.Variable(value, trainable=trainable, name=name)
        return lib._params[name]

    lib.param = param

    def fill(k, t):
        """Sets what the next update draws: D's k-th in iteration t (and before it, G's)."""
        session = tf.get_default_session()
        z, labels, alpha = [], [], []
        for kind, variable in drawn:
            {'z': z, 'uniform': labels}.get(kind, []).append(variable)
        alpha = [v for v in labels if v.shape.as_list() == [feed.BATCH, 1]]
        labels = [v for v in labels if v.shape.as_list() == [feed.BATCH] and v not in alpha]
        half, n = feed.BATCH // 2, feed.BATCH
        values = [(z[0], fed['dis_z'][t, k][:half]), (z[1], fed['dis_z'][t, k][half:])]
        values += [(alpha[0], fed['alpha'][t, k][:, None])]
        # G's update after the last of these, at the start of iteration t + 1, is that of step t.
        values += [(z[2], fed['gen_z'][t][:n]), (z[3], fed['gen_z'][t][n:])]
        for variable, y in zip(labels, (fed['gen_y'][t][:n], fed['gen_y'][t][n:])):
            values.append((variable, (y + 0.5) / 10))
        for variable, value in values:
            variable.load(value, session)

    looked = {}

    def keep(t):
        session = tf.get_default_session()
        if not looked:
            y = tf.constant(fed['fixed_y'])
            z = tf.constant(fed['fixed_z'].astype(a.dtype))
            x = fed['fixed_x'].reshape(feed.FIXED, -1).astype(a.dtype)
            looked['images_train'] = tf.reshape(
                script['Generator'](feed.FIXED, y, noise=z), (-1, *feed.IMAGE)
            )
            logits, classes = script['Discriminator'](tf.constant(x), y)
            looked['logits'] = logits
            if classes is not None:
                looked['classes'] = classes
        now = dict(looked, **{name: v for name, v in lib._params.items() if 'moving' not in name})
        for name, value in tf.Session.run(session, now).items():
            out[f't{t}/{name}'] = np.asarray(value, 'float64')

    def batches():
        for t in range(a.steps + 1):
            for k in range(5):
                if k == 0 and t and (t in feed.KEPT or t in (feed.LAST, a.steps)):
                    keep(t)
                if t == a.steps:
                    raise Stop
                fill(k, t)
                image = np.round((fed['real'][t, k] + 1) * 128).astype('int32')
                yield image.reshape(feed.BATCH, -1), fed['label'][t, k]

    nothing = lambda *args: None  # noqa: E731
    stub('sklearn.datasets')
    sys.modules.setdefault('sklearn', types.ModuleType('sklearn'))
    stub('tflib.save_images', save_images=nothing)
    stub('tflib.inception_score', get_inception_score=nothing)
    stub('tflib.plot', plot=nothing, flush=nothing, tick=nothing)
    stub('tflib.cifar10', load=lambda size, folder: (batches, batches))
    script = {'__name__': 'script'}
    code = compile(source(folder, a.model), 'gan_cifar_resnet.py', 'exec')
    sys.modules['tensorflow'] = proxy
    os.chdir(folder)
    try:
        exec(code, script)
    except (Stop, RuntimeError) as error:  # a generator may not raise StopIteration's kin
        assert isinstance(error, Stop), error
    out.update({'trace/' + name: np.array(v) for name, v in traces.items()})
    versions = f'TensorFlow {tf.__version__}, NumPy {np.__version__}'
    out['about'] = f'{versions}, Python {sys.version.split()[0]}, {a.dtype}'
    np.savez_compressed(a.out, **out)
    print(a.model, a.dtype, {k: v[-1] for k, v in traces.items()})


if __name__ == '__main__':
    main()
