r"""Every convolution of our networks in forms that give the same values: which is fastest here.

    python -m benchmarks.conv [--batch_size=64] [--dtype=float32] [--layers=deconv,down] \
        [--pytorch] [--out=FILE]

`plain` is the operation as papers write it, `ours` is the form of `snjax.nn.convolution`. The
report has the time of the output alone and of the output with the gradients of input and kernel,
medians of `--rounds` in turns. `gflops` counts the plain form's multiplications and additions,
three times as many with the gradients. `--pytorch` adds PyTorch's plain form, channels last.
"""

import argparse
import itertools
import os
import statistics
import time
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks import command, machine
from snjax import parallel
from snjax.nn import convolution

_conv = partial(lax.conv_general_dilated, dimension_numbers=('NHWC', 'HWIO', 'NHWC'))


def _plain(x, kernel):
    return _conv(x, kernel.astype(x.dtype), (1, 1), 'SAME')


def _plain_down(x, kernel):
    return _conv(
        x, kernel.astype(x.dtype), (2, 2), 'SAME' if kernel.shape[0] == 5 else [(1, 1), (1, 1)]
    )


def _plain_deconv(x, kernel):
    return lax.conv_transpose(x, kernel.astype(x.dtype), (2, 2), 'SAME')


def _space_to_depth(x, kernel):
    """A 3x3 convolution from or to a thin image with its 2x2 blocks of pixels as channels."""
    b, h, w, i = x.shape
    o = kernel.shape[-1]
    if o < i:  # the four pixels of a block see 4x4 of the input between them
        taps = [
            [jnp.pad(kernel, ((r, 1 - r), (c, 1 - c), (0, 0), (0, 0))) for c in (0, 1)]
            for r in (0, 1)
        ]
        taps = jnp.stack([jnp.stack(row, 3) for row in taps], 3).reshape(4, 4, i, 4 * o)
        z = convolution.conv(x, taps, strides=(2, 2))
    else:  # block (r, c) of the three by three around it, its pixel (m, n), to pixel (p, q)
        taps = jnp.zeros((3, 2, 3, 2, i, 2, 2, o), kernel.dtype)
        for p, q, m, n in itertools.product((0, 1), (0, 1), range(3), range(3)):
            (r, y), (c, z) = divmod(m + p + 1, 2), divmod(n + q + 1, 2)
            taps = taps.at[r, y, c, z, :, p, q].set(kernel[m, n])
        taps = taps.transpose(0, 2, 1, 3, 4, 5, 6, 7).reshape(3, 3, 4 * i, 4 * o)
        blocks = x.reshape(b, h // 2, 2, w // 2, 2, i).transpose(0, 1, 3, 2, 4, 5)
        z = _plain(blocks.reshape(b, h // 2, w // 2, 4 * i), taps)
    z = z.reshape(b, h // 2, w // 2, 2, 2, o).transpose(0, 1, 3, 2, 4, 5)
    return z.reshape(b, h, w, o)


FORMS = {
    'thin': {'plain': _plain, 'ours': convolution.conv, 'space_to_depth': _space_to_depth},
    'conv': {'plain': _plain, 'ours': convolution.conv},
    'down': {'plain': _plain_down, 'ours': partial(convolution.conv, strides=(2, 2))},
    'deconv': {
        'plain': _plain_deconv,
        'ours': partial(convolution.conv_transpose, strides=(2, 2)),
    },
    'up_conv': {
        'plain': lambda x, k: _plain(convolution.upsample(x), k),
        'ours': convolution.upsample_conv,
    },
    'conv_pool': {
        'plain': lambda x, k: convolution.average_pool(_plain(x, k)),
        'ours': convolution.conv_pool,
    },
}


class Layer(NamedTuple):
    """A layer: its kind, height and width of the input, kernel size, channels in and out."""

    kind: str
    size: int
    kernel: int
    before: int
    after: int

    @property
    def name(self) -> str:
        return f'{self.kind} {self.size}px {self.kernel}x{self.kernel} {self.before}>{self.after}'

    def flops(self, batch_size: int) -> int:
        """Operations of the plain form."""
        at = {'down': self.size // 2, 'up_conv': self.size * 2}.get(self.kind, self.size)
        return 2 * batch_size * at**2 * self.kernel**2 * self.before * self.after


LAYERS = [
    # ResNet, generator 256 and discriminator 128 wide
    Layer('conv', 32, 3, 256, 256),
    Layer('conv', 32, 3, 128, 128),
    Layer('conv', 8, 3, 128, 128),
    Layer('thin', 32, 3, 3, 128),
    Layer('thin', 32, 3, 256, 3),
    Layer('up_conv', 4, 3, 256, 256),
    Layer('up_conv', 16, 3, 256, 256),
    Layer('up_conv', 16, 1, 256, 256),
    Layer('conv_pool', 32, 3, 128, 128),
    # standard CNN
    Layer('thin', 32, 3, 3, 64),
    Layer('down', 32, 4, 64, 64),
    Layer('conv', 16, 3, 64, 128),
    Layer('down', 16, 4, 128, 128),
    Layer('conv', 8, 3, 128, 256),
    Layer('down', 8, 4, 256, 256),
    Layer('conv', 4, 3, 256, 512),
    Layer('deconv', 4, 4, 512, 256),
    Layer('deconv', 8, 4, 256, 128),
    Layer('deconv', 16, 4, 128, 64),
    Layer('thin', 32, 3, 64, 3),
    # WGAN-GP's CNN
    Layer('down', 16, 5, 128, 256),
    Layer('deconv', 8, 5, 256, 128),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--batch_size', type=command.count, default=64)
    parser.add_argument('--dtype', choices=('float32', 'bfloat16'), default='float32')
    parser.add_argument(
        '--layers', type=command.names(FORMS), default='', help='kinds, commas between; empty: all'
    )
    parser.add_argument('--rounds', type=command.count, default=7)
    parser.add_argument('--pytorch', action='store_true')
    parser.add_argument('--out', type=command.report)
    args = parser.parse_args()
    versions = {}
    if args.pytorch:
        os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')  # leaves PyTorch its memory
        import torch

        versions['torch'] = torch.__version__
    report = {**machine.describe(), **versions, 'batch_size': args.batch_size, 'dtype': args.dtype}
    report['layers'] = {}
    for layer in LAYERS:
        if args.layers and layer.kind not in args.layers:
            continue
        report['layers'][layer.name] = found = measure(layer, args)
        line = '  '.join(
            f'{form} {t["forward_ms"]:.2f} {t["all_ms"]:.2f} ms' for form, t in found.items()
        )
        print(f'{layer.name:32s} {line}', flush=True)
    machine.write(report, args.out)


def measure(layer, args):
    """Milliseconds and GFLOP/s of every form of a layer."""
    runs = {}
    x = jax.random.normal(
        jax.random.key(0), (args.batch_size, layer.size, layer.size, layer.before)
    )
    kernel = jax.random.normal(
        jax.random.key(1), (layer.kernel, layer.kernel, layer.before, layer.after)
    )
    x, kernel = x.astype(args.dtype), kernel.astype(args.dtype)
    for form, function in FORMS[layer.kind].items():
        runs[form] = _programs(function, x, kernel)
    if args.pytorch:
        runs['pytorch'] = _pytorch(layer, args.batch_size, args.dtype)
    times = {form: ([], []) for form in runs}
    for _ in range(args.rounds):
        for form, both in runs.items():
            for i, run in enumerate(both):
                times[form][i].append(_seconds(*run))
    flops = layer.flops(args.batch_size)
    found = {}
    for form, (forward, everything) in times.items():
        forward, everything = statistics.median(forward), statistics.median(everything)
        found[form] = {
            'forward_ms': 1e3 * forward,
            'all_ms': 1e3 * everything,
            'forward_gflops': flops / forward / 1e9,
            'all_gflops': 3 * flops / everything / 1e9,
        }
    return found


def _programs(function, x, kernel):
    y = jax.eval_shape(function, x, kernel)
    slope = jax.random.normal(jax.random.key(2), y.shape).astype(y.dtype)

    def everything(x, kernel, slope):
        y, pull = jax.vjp(function, x, kernel)
        return y, *pull(slope)

    runs = []
    for f, args in ((function, (x, kernel)), (everything, (x, kernel, slope))):
        program = parallel.compile(jax.jit(f).lower(*args))
        runs.append((partial(program, *args), jax.block_until_ready))
    return runs


def _pytorch(layer, batch_size, dtype):
    import torch
    from torch.nn import functional

    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    torch.backends.cudnn.benchmark = True
    make = partial(torch.randn, device=device, dtype=getattr(torch, dtype))
    layout = torch.channels_last
    x = make(batch_size, layer.before, layer.size, layer.size).to(memory_format=layout)
    size = (layer.kernel, layer.kernel)
    transposed = layer.kind == 'deconv'
    channels = (layer.before, layer.after) if transposed else (layer.after, layer.before)
    kernel = make(*channels, *size).to(memory_format=layout)
    x.requires_grad_(), kernel.requires_grad_()
    pad = (layer.kernel - 1) // 2

    def function():
        if transposed:
            extra = layer.kernel % 2
            return functional.conv_transpose2d(x, kernel, None, 2, pad, output_padding=extra)
        seen = functional.interpolate(x, scale_factor=2) if layer.kind == 'up_conv' else x
        y = functional.conv2d(seen, kernel, None, 2 if layer.kind == 'down' else 1, pad)
        return functional.avg_pool2d(y, 2) if layer.kind == 'conv_pool' else y

    slope = torch.randn_like(function())

    def wait(_):
        if device == 'cuda':
            torch.cuda.synchronize()

    def forward():
        with torch.no_grad():
            return function()

    def everything():
        return torch.autograd.grad(function(), (x, kernel), slope)

    return (forward, wait), (everything, wait)


def _seconds(run, wait, at_least=0.05):
    """Seconds of one run: the mean of enough runs for `at_least` seconds, with one wait."""
    began = time.perf_counter()
    wait(run())
    num = max(1, round(at_least / (time.perf_counter() - began)))
    began = time.perf_counter()
    for _ in range(num):
        last = run()
    wait(last)
    return (time.perf_counter() - began) / num


if __name__ == '__main__':
    command.run(main)
