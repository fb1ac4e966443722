"""Runs the official Chainer code itself: its networks, links, updaters, Adam, LinearShift, Trainer.

    CHAINER_PYTHON chainer_peers.py MODEL --checkouts=DIR --out=FILE [--dtype=float64] [--steps=50]

MODEL: resnet or cgan (pfnet-research/sngan_projection), cnn, dcgan or wgangp
(pfnet-research/chainer-gan-lib). Chainer 7.8.1 needs Python 3.8 or older, NumPy below 1.24 and
setuptools below 60. Changed from outside, because the code is for one GPU in float32: the CuPy
kernel of `_l2normalize`, the same formula in NumPy; casts to float32 in a float64 run; `(512, 4,
4)` of a reshape, which is the width; and what is drawn comes from `inputs.py`.
"""

import argparse
import importlib
import os
import sys
import tempfile

import inputs as feed
import numpy as np

RECIPES = {  # lr, beta1, beta2, update at which the rate is 0; as each code's command has them
    'resnet': (2e-4, 0.0, 0.9, 50000),
    'cgan': (2e-4, 0.0, 0.9, 50000),
    'cnn': (2e-4, 0.5, 0.999, 0),
    'dcgan': (2e-4, 0.5, 0.999, 0),  # the command has 0 and .9: see configs/dcgan_cifar.py
    'wgangp': (2e-4, 0.0, 0.9, 0),
}
PERSISTENT = ('u', 'avg_mean', 'avg_var')


def load(model, checkouts, width):
    """Both networks and the updater's class; adds the code's folder to the path."""
    if feed.MODELS[model][0] == 'sngan_projection':
        sys.path.insert(0, os.path.join(checkouts, 'sngan_projection'))
        max_sv = importlib.import_module('source.functions.max_sv')
        max_sv._l2normalize = lambda v, eps=1e-12: v / (np.sqrt((v * v).sum()) + eps)
        updater = importlib.import_module('updater')
        nets = importlib.import_module('gen_models.resnet_32')
        judges = importlib.import_module('dis_models.snresnet_32')
        n = feed.CLASSES if model == 'cgan' else 0
        gen = nets.ResNetGenerator(ch=width, n_classes=n)
        dis = judges.SNResNetProjectionDiscriminator(ch=width, n_classes=n)
        return gen, dis, updater.Updater, (updater, nets)
    sys.path.insert(0, os.path.join(checkouts, 'chainer-gan-lib', 'common'))
    sys.path.insert(0, os.path.join(checkouts, 'chainer-gan-lib'))
    net = importlib.import_module('common.net')
    name = {'cnn': 'stdgan', 'dcgan': 'dcgan', 'wgangp': 'wgan_gp'}[model]
    updater = importlib.import_module(name + '.updater')
    judges = {'cnn': 'SNDCGANDiscriminator', 'dcgan': 'DCGANDiscriminator'}
    dis = getattr(net, judges.get(model, 'WGANDiscriminator'))(ch=8 * width)
    return net.DCGANGenerator(ch=8 * width), dis, updater.Updater, (updater, net)


def named(prefix, network):
    """Every array of a network: (name, holder, attribute), statistics and u included."""
    for name, param in sorted(network.namedparams()):
        yield prefix + name, param, 'data'
    for name, link in sorted(network.namedlinks()):
        for attribute in PERSISTENT:
            if getattr(link, attribute, None) is not None:
                yield prefix + name + '/' + attribute, link, attribute


def fill(prefix, network, dtype):
    for name, holder, attribute in named(prefix, network):
        shape = getattr(holder, attribute).shape
        setattr(holder, attribute, feed.start(name, shape).astype(dtype))
    for link in network.links():
        if hasattr(link, '_highprec_dtype'):
            link._highprec_dtype = dtype
    network.cleargrads()


class Uncast(np.ndarray):
    """An array that `.astype('f')` leaves as it is."""

    def astype(self, dtype, *args, **kwargs):
        return np.asarray(self) if dtype == 'f' else np.ndarray.astype(self, dtype, *args, **kwargs)


class UncastingNumPy:
    """NumPy whose `asarray` gives `Uncast` arrays."""

    def __getattr__(self, name):
        return getattr(np, name)

    @staticmethod
    def asarray(x, *args, **kwargs):
        out = np.asarray(x, *args, **kwargs)
        return out.view(Uncast) if isinstance(x, np.ndarray) else out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('model', choices=sorted(RECIPES))
    parser.add_argument('--checkouts', required=True)
    parser.add_argument('--out', required=True)
    parser.add_argument('--dtype', default='float64')
    parser.add_argument('--steps', type=int, default=feed.LAST)
    parser.add_argument('--width', type=int, default=feed.WIDTH)
    a = parser.parse_args()
    import chainer
    from chainer import training
    from chainer.training import extensions

    dtype, official = np.dtype(a.dtype), feed.MODELS[a.model][0] == 'sngan_projection'
    lr, beta1, beta2, decay_end = RECIPES[a.model]
    _, factor, n_dis, _ = feed.MODELS[a.model]
    gen, dis, Updater, (updater, net) = load(a.model, a.checkouts, a.width)
    if a.model == 'cnn':  # u is None until the first call
        for link in dis.links():
            if hasattr(link, 'u'):
                link.u = np.zeros((1, link.W.shape[0]), 'f')
    fill('gen', gen, dtype)
    fill('dis', dis, dtype)
    fed, queue_z, queue_y, queue_alpha = feed.inputs(a.model, a.steps), [], [], []
    for t in range(a.steps):
        own = [] if a.model in ('dcgan', 'wgangp') else [fed['gen_z'][t]]  # one batch for both
        queue_z += [z.astype(dtype) for z in own + list(fed['dis_z'][t])]
        queue_y += [fed['gen_y'][t], *fed['dis_y'][t]]
        queue_alpha += [x.astype(dtype).view(Uncast) for x in fed['alpha'][t]]

    out, traces = {}, {}

    def report(values, observer=None):
        for name, value in values.items():
            value = np.asarray(getattr(value, 'data', value))
            traces.setdefault(name, []).append(value.astype('float64'))

    chainer.reporter.report = report
    optimizers = {}
    for name, network in (('opt_gen', gen), ('opt_dis', dis)):
        optimizers[name] = chainer.optimizers.Adam(alpha=lr, beta1=beta1, beta2=beta2)
        optimizers[name].setup(network)
    if official:
        net.sample_continuous = lambda *args, **kwargs: queue_z.pop(0)
        updater.sample_categorical = lambda *args, **kwargs: queue_y.pop(0)

        class Uncasting(Updater):
            def get_batch(self, xp):  # the code's own, without its casts
                x, y = zip(*self.get_iterator('main').next())
                y = chainer.Variable(np.asarray(y, 'i')) if self.conditional else None
                return chainer.Variable(np.asarray(x).astype(dtype)), y

        Updater = Uncasting
        items = list(zip(fed['real'].reshape((-1, *feed.IMAGE)), fed['label'].ravel()))
        extra = {
            'models': {'gen': gen, 'dis': dis},
            'n_dis': n_dis,
            'loss_type': 'hinge',
            'conditional': a.model == 'cgan',
            'n_gen_samples': feed.BATCH * factor,
        }
    else:
        gen.make_hidden = lambda size: queue_z.pop(0)[:, :, None, None]
        items = list(fed['real'].reshape((-1, *feed.IMAGE)).astype(dtype))
        extra = {'models': [gen, dis]}
        if a.model != 'dcgan':
            extra['n_dis'] = n_dis
        if a.model == 'wgangp':
            extra['lam'] = 10
            np.random.uniform = lambda low, high, size: queue_alpha.pop(0)
            reshape = net.F.reshape
            net.F.reshape = lambda x, s: reshape(
                x, (s[0], 8 * a.width, 4, 4) if tuple(s[1:]) == (512, 4, 4) else s
            )
        if dtype == np.float64:
            updater.np = UncastingNumPy()
    iterator = chainer.iterators.SerialIterator(items, feed.BATCH, shuffle=False)
    trained = Updater(iterator=iterator, optimizer=optimizers, **extra)
    trainer = training.Trainer(trained, (a.steps, 'iteration'), out=tempfile.mkdtemp())
    if decay_end:
        for name in optimizers:
            shift = extensions.LinearShift('alpha', (lr, 0.0), (0, decay_end), optimizers[name])
            trainer.extend(shift)

    def look():
        """Images of fixed z in evaluation, logits of fixed images in training; nothing moves."""
        arrays = [*named('gen', gen), *named('dis', dis)]
        before = [getattr(holder, attribute).copy() for _, holder, attribute in arrays]
        kwargs = {'y': fed['fixed_y']} if a.model == 'cgan' else {}
        z, x = fed['fixed_z'].astype(dtype), fed['fixed_x'].astype(dtype)
        seen = {}
        for name, train in (('images', False), ('images_train', True)):
            with chainer.using_config('train', train), chainer.no_backprop_mode():
                made = gen(len(z), z=z, **kwargs) if official else gen(z[:, :, None, None])
                seen[name] = made.data
        with chainer.using_config('train', True), chainer.no_backprop_mode():
            seen['logits'] = dis(x, **kwargs).data[:, 0]
        for (_, holder, attribute), value in zip(arrays, before):
            setattr(holder, attribute, value)
        return seen

    @training.make_extension(trigger=(1, 'iteration'))
    def record(trainer):
        t = trainer.updater.iteration
        if t not in (*feed.KEPT, feed.LAST, a.steps):
            return
        for prefix, network in (('gen', gen), ('dis', dis)):
            for name, holder, attribute in named(prefix, network):
                out[f't{t}/{name}'] = getattr(holder, attribute).astype('float64')
        out.update({f't{t}/{k}': v.astype('float64') for k, v in look().items()})

    trainer.extend(record)
    trainer.run()
    assert not queue_z, 'not all z were drawn'
    names = {'loss_gen': 'gen_loss', 'loss_dis': 'dis_loss', 'loss_gp': 'penalty'}
    out.update({'trace/' + names[k]: np.array(v) for k, v in traces.items() if k in names})
    versions = f'Chainer {chainer.__version__}, NumPy {np.__version__}'
    out['about'] = f'{versions}, Python {sys.version.split()[0]}, {a.dtype}'
    np.savez_compressed(a.out, **out)
    print(a.model, a.dtype, {k: float(v[-1]) for k, v in traces.items()})


if __name__ == '__main__':
    main()
