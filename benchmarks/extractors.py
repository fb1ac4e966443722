r"""Images per second of the extractors and of their PyTorch versions (torch-fidelity, a ResNet-56).

Both sides have the same random weights and the same uint8 images. The time runs from images in the
host's memory to features and logits in it. Sides take turns, and the report compares medians.
PyTorch also runs channels last, and with one thread, which may be faster on a busy CPU. On an
accelerator our Inception also runs with the default precision, and on a GPU PyTorch with TF32.
Needs `requirements-oracles.txt`.

    python -m benchmarks.extractors [--extractor=inception] [--batch_size=16] [--image_size=32] \
        [--rounds=5]
"""

import argparse
import datetime
import functools
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping

import jax
import numpy as np
from jax import lax

from benchmarks import command
from snjax import parallel
from snjax.metrics import cifar_resnet, inception, inception_weights

Run = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def random_state_dict(
    layers: Mapping[tuple[str, str], tuple[int, ...]],
    linear: str,
    shape: tuple[int, int],
    seed: int,
) -> dict[str, np.ndarray]:
    """Random weights that keep activations of order one, so that no time is lost to denormals.

    Args:
        layers: shape (out, in, kh, kw) of each convolution by its name and that of its batch norm.
        linear: name of the last layer.
        shape: its (out, in).
        seed: of the numbers.
    """
    rng = np.random.default_rng(seed)
    arrays = {}
    for (conv, norm), size in layers.items():
        deviation = np.sqrt(2 / np.prod(size[1:]))
        arrays[f'{conv}.weight'] = deviation * rng.standard_normal(size, np.float32)
        arrays[f'{norm}.weight'] = rng.uniform(0.7, 1.3, size[0])
        arrays[f'{norm}.bias'] = rng.normal(size=size[0]) / 10
        arrays[f'{norm}.running_mean'] = rng.normal(size=size[0]) / 10
        arrays[f'{norm}.running_var'] = rng.uniform(0.7, 1.3, size[0])
    arrays[f'{linear}.weight'] = rng.standard_normal(shape, np.float32) / np.sqrt(shape[1])
    arrays[f'{linear}.bias'] = rng.normal(size=shape[0])
    return {name: np.asarray(x, np.float32) for name, x in arrays.items()}


def random_inception(seed: int = 0) -> dict[str, np.ndarray]:
    """A state dict with the published names of Inception."""
    layers = {}
    for name, shape in inception.shapes().items():
        layer, _, kind = name.rpartition('.')
        if kind == 'kernel' and layer != 'fc':
            *size, channels, width = shape
            layers[f'{layer}.conv', f'{layer}.bn'] = (width, channels, *size)
    return random_state_dict(layers, 'fc', (inception.NUM_LOGITS, inception.DIM), seed)


def random_resnet(seed: int = 0) -> dict[str, np.ndarray]:
    """A state dict with the published names of ResNet-56."""
    layers = {('conv1', 'bn1'): (16, 3, 3, 3)}
    before = 16
    for stage, width in enumerate((16, 32, 64), start=1):
        for block in range(9):
            name = f'layer{stage}.{block}'
            layers[f'{name}.conv1', f'{name}.bn1'] = (width, before, 3, 3)
            layers[f'{name}.conv2', f'{name}.bn2'] = (width, width, 3, 3)
            before = width
    arrays = random_state_dict(layers, 'linear', (10, 64), seed)
    # Each block adds to its input: smaller second halves keep 27 of them of order one.
    return {name: x / 8 if name.endswith('bn2.weight') else x for name, x in arrays.items()}


def ours(name: str, arrays: dict[str, np.ndarray]) -> dict[str, Run]:
    """Our extractor by name of the way to run it."""

    def run(program, variables, images):
        features, logits = program(variables, images)
        return np.asarray(features), np.asarray(logits)

    def of(variables, function):
        return functools.partial(run, parallel.OverBatches(function), parallel.replicate(variables))

    if name == 'cifar_resnet56':
        return {'snjax': of(cifar_resnet.from_state_dict(arrays), cifar_resnet.apply)}
    variables = inception_weights.from_state_dict(arrays)

    def function(precision, variables, images):
        out = inception.apply(variables, images, precision=precision)
        return out.pool3, out.logits_unbiased

    precisions = {'snjax': lax.Precision.HIGHEST}
    if jax.default_backend() != 'cpu':
        precisions['snjax, default precision'] = lax.Precision.DEFAULT
    return {
        way: of(variables, functools.partial(function, precision))
        for way, precision in precisions.items()
    }


def theirs(name: str, arrays: dict[str, np.ndarray]) -> dict[str, Run]:
    """The PyTorch extractor by name: as its project runs it, and in forms that may be faster."""
    import torch

    state = {key: torch.from_numpy(value) for key, value in arrays.items()}
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    all_threads = torch.get_num_threads()

    def run(network, layout, tf32, threads, images):
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.set_num_threads(threads)
        with torch.inference_mode():
            pixels = torch.from_numpy(images).to(device).permute(0, 3, 1, 2)
            features, logits = network(pixels.contiguous(memory_format=layout))
            out = features.cpu().numpy(), logits.cpu().numpy()
        torch.set_num_threads(all_threads)
        return out

    ways: dict[str, Run] = {}
    layouts = {'': torch.contiguous_format, ', channels last': torch.channels_last}
    for words, layout in layouts.items():
        network = _torch_inception(state) if name == 'inception' else _torch_resnet(state)
        network = network.to(device).to(memory_format=layout)
        ways[f'torch{words}'] = functools.partial(run, network, layout, False, all_threads)
        if device == 'cuda':
            ways[f'torch{words}, TF32'] = functools.partial(run, network, layout, True, all_threads)
        elif all_threads > 1:
            ways[f'torch{words}, 1 thread'] = functools.partial(run, network, layout, False, 1)
    return ways


def _torch_inception(state):
    import torch
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    with tempfile.TemporaryDirectory() as folder:
        path = f'{folder}/weights.pth'
        torch.save(state, path)
        return FeatureExtractorInceptionV3('inception', ['2048', 'logits_unbiased'], path)


def _torch_resnet(state):
    """ResNet-56 of He et al. 2016 with option A shortcuts, under the names of `random_resnet`."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Block(nn.Module):
        def __init__(self, before, width):
            super().__init__()
            self.added, self.stride = width - before, 1 if width == before else 2
            self.conv1 = nn.Conv2d(before, width, 3, self.stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(width)

        def forward(self, x):
            y = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
            if self.added:
                half = self.added // 2
                x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, half))
            return functional.relu(x + y)

    class ResNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
            before = 16
            for stage, width in enumerate((16, 32, 64), start=1):
                widths = [before] + [width] * 8
                setattr(self, f'layer{stage}', nn.Sequential(*(Block(b, width) for b in widths)))
                before = width
            self.linear = nn.Linear(64, 10)
            self.register_buffer('mean', torch.tensor([0.485, 0.456, 0.406])[:, None, None], False)
            self.register_buffer('std', torch.tensor([0.229, 0.224, 0.225])[:, None, None], False)

        def forward(self, x):
            x = (x.float() / 255 - self.mean) / self.std
            x = functional.relu(self.bn1(self.conv1(x)))
            features = self.layer3(self.layer2(self.layer1(x))).mean((2, 3))
            return features, self.linear(features)

    network = ResNet()
    network.load_state_dict(state)
    return network.eval()


def compare(name: str, batch_size: int, image_size: int, rounds: int) -> dict:
    """Times of both sides in turns, and how far apart their features are."""
    arrays = random_inception() if name == 'inception' else random_resnet()
    shape = (batch_size, image_size, image_size, 3)
    images = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    ways = ours(name, arrays) | theirs(name, arrays)
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    cpu_seconds: dict[str, list[float]] = {way: [] for way in ways}
    outputs = {way: run(images) for way, run in ways.items()}  # compiles and warms up
    for _ in range(rounds):
        for way, run in ways.items():
            began, cpu_began = time.perf_counter(), time.process_time()
            run(images)
            seconds[way].append(time.perf_counter() - began)
            cpu_seconds[way].append(time.process_time() - cpu_began)
    medians = {way: statistics.median(s) for way, s in seconds.items()}
    float32 = [way for way in medians if way.startswith('torch') and 'TF32' not in way]
    fastest = min(medians[way] for way in float32)
    features = outputs['torch'][0]
    return {
        'extractor': name,
        'batch_size': batch_size,
        'image_size': image_size,
        'seconds': seconds,
        # CPU time of all threads, busy waiting included: a busy machine changes it least.
        'median_cpu_seconds': {way: statistics.median(s) for way, s in cpu_seconds.items()},
        'images_per_second': {way: batch_size / median for way, median in medians.items()},
        'torch_over_snjax': medians['torch'] / medians['snjax'],
        'fastest_float32_torch_over_snjax': fastest / medians['snjax'],
        'relative_distance_from_torch': {
            way: float(np.linalg.norm(out[0] - features) / np.linalg.norm(features))
            for way, out in outputs.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description='Images per second, beside PyTorch.')
    parser.add_argument(
        '--extractor', choices=('inception', 'cifar_resnet56', 'both'), default='both'
    )
    parser.add_argument('--batch_size', type=int, default=0, help='0: 16 of Inception, else 250')
    parser.add_argument('--image_size', type=int, default=32, help='of Inception')
    parser.add_argument('--rounds', type=command.count, default=5)
    parser.add_argument('--out', type=command.report)
    args = parser.parse_args()
    os.environ.setdefault('XLA_PYTHON_CLIENT_PREALLOCATE', 'false')  # leaves PyTorch its memory
    import torch

    names = ('inception', 'cifar_resnet56') if args.extractor == 'both' else (args.extractor,)
    cuda = torch.cuda.get_device_name() if torch.cuda.is_available() else ''
    report = {
        'date': datetime.date.today().isoformat(),
        'machine': f'{parallel.describe()}, {platform.machine()}, {platform.python_version()}',
        'jax': jax.__version__,
        'torch': f'{torch.__version__}, {cuda or f"{torch.get_num_threads()} threads"}',
        'results': [
            compare(
                name,
                args.batch_size or (16 if name == 'inception' else 250),
                args.image_size if name == 'inception' else cifar_resnet.SIZE,
                args.rounds,
            )
            for name in names
        ],
    }
    text = json.dumps(report, indent=2)
    print(text)
    if args.out:
        args.out.write_text(text + '\n')


if __name__ == '__main__':
    command.run(main)
