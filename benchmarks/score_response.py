r"""How the scores respond to real images degraded in known ways: blur, noise, missing classes.

    python -m benchmarks.score_response --weights=resnet56_cifar10.npz \
        --out=docs/results/score_response.json

The fakes are CIFAR-10's test set, unchanged or degraded; the real images are its training set. Two
halves of the training set give the noise floor. A good score moves one way along each series. The
table goes to stdout as Markdown, the numbers and the protocol to --out.
"""

import argparse
import datetime
import json
import platform

import jax
import numpy as np
from scipy.ndimage import gaussian_filter

from benchmarks import command
from snjax import data
from snjax.metrics import comparison, extractors, manifold, scores
from snjax.metrics.comparison import ScoredSet
from snjax.metrics.protocols import Protocol
from snjax.metrics.reference import Reference

SHOWN = ('precision', 'recall', 'density', 'coverage', 'classes_found')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--extractor', default='cifar_resnet56')
    parser.add_argument('--weights', default='')
    parser.add_argument(
        '--num', type=command.count, default=10_000, help='test images that stand for fakes'
    )
    parser.add_argument('--batch_size', type=command.count, default=250)
    parser.add_argument('--out', type=command.report, required=True)
    args = parser.parse_args()
    extractor = extractors.load(args.extractor, args.weights)
    train, test = (data.load('cifar10', image_size=32, split=s) for s in ('train', 'test'))
    reference = Reference(extractor, train, batch_size=args.batch_size)
    protocol = Protocol('train', 'train', None, args.num)
    images, labels = test.images[: args.num], test.labels[: args.num]

    found = {'halves of train': halves(extractor, reference)}
    for name, spoilt in spoilings(np.asarray(images), labels):
        features = extractor.of(extractors.batches_of(spoilt, args.batch_size))
        found[name] = against(extractor, reference, protocol, ScoredSet(features))
        print(name, {k: round(v, 4) for k, v in found[name].items()}, flush=True)
        save(args, extractor, found)
    print(markdown(found, extractor))


def spoilings(images, labels):
    """(name, images): unchanged, and each degradation from little to much."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=images.shape)
    yield 'test', images
    for sigma in (0.5, 1.0, 2.0):
        yield f'blur, sigma {sigma} px', gaussian_filter(images, (0, sigma, sigma, 0))
    for std in (4, 16, 64):
        yield f'noise, std {std}', np.clip(images + std * noise, 0, 255).astype(np.uint8)
    for num in (9, 5, 1):
        yield f'{num} of 10 classes', images[labels < num]
    yield 'one image', np.repeat(images[:1], len(images), axis=0)


def halves(extractor, reference):
    """Scores of two halves of the training set: an ideal generator's, at 25,000 images each."""
    features = reference.features.features
    order = np.random.default_rng(1).permutation(len(features))
    a, b = (features[rows] for rows in (order[::2], order[1::2]))
    one, two = scores.moments(a), scores.moments(b)
    kernel = scores.kernel_distance(a, b)
    near = manifold.prdc(a[:10_000], b[:10_000], k=comparison.K)
    distance = scores.frechet_distance(one.mean, one.cov, two.mean, two.cov)
    return {'frechet_distance': distance, 'kernel_distance': kernel.mean} | near._asdict()


def against(extractor, reference, protocol, fake):
    real = ScoredSet(reference.features)
    moments = reference.moments(protocol)
    return comparison.full(extractor, real, moments, fake, reference.image_set.class_names)


def save(args, extractor, found):
    about = {
        'date': datetime.date.today().isoformat(),
        'machine': platform.processor() or platform.machine(),
        'device': jax.devices()[0].device_kind,
        'versions': {'jax': jax.__version__, 'numpy': np.__version__},
        'extractor': extractor.name,
        'extractor_sha256': extractor.sha256,
        'num': args.num,
        'k': comparison.K,
        'neighbour_num': 10_000,
    }
    args.out.write_text(json.dumps({'about': about, 'scores': found}, indent=2) + '\n')


def markdown(found, extractor):
    name = comparison.names(extractor)
    columns = {comparison.title(extractor): name['frechet'], 'kernel distance': name['kernel']}
    columns |= {'classifier score': name['class'], **{key.replace('_', ' '): key for key in SHOWN}}
    lines = ['| images | ' + ' | '.join(columns) + ' |', '|---' * (1 + len(columns)) + '|']
    for images, values in found.items():
        cells = [f'{values[key]:.4g}' if key in values else '' for key in columns.values()]
        lines.append(f'| {images} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


if __name__ == '__main__':
    command.run(main)
