"""`launch.py --mode=sample --sample.what=spectrum`: power spectra of fakes and of real images."""

import io

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from experiments.modes.options import Options
from experiments.modes.sample_files import SampleOutput
from experiments.report import style
from snjax.data import ImageSet
from snjax.metrics import power_spectrum
from snjax.metrics.power_spectrum import Spectrum

_DPI = 150


def make(options: Options, fakes: SampleOutput, step: int, image_set: ImageSet) -> SampleOutput:
    """The figure of the spectra, with their numbers.

    Args:
        options: see `configs/modes/sample.py`.
        fakes: output of `sample.what=samples`.
        step: of the checkpoint.
        image_set: the training set. As many of its images as there are fakes are drawn by
            `sample.seed`, of the class `sample.label` if there is one, or all if it has fewer.
    """
    rows = np.arange(len(image_set.images))
    if options.label >= 0:
        rows = np.flatnonzero(image_set.labels == options.label)
    chosen = np.random.default_rng(options.seed).permutation(rows)[: len(fakes.pixels)]
    halves = chosen[::2], chosen[1::2]
    real = power_spectrum.of_images(image_set.images[np.sort(chosen)])
    fake = power_spectrum.of_images(fakes.pixels)
    difference = power_spectrum.decibels(fake, real)
    found = power_spectrum.summary(difference)
    record = {
        'step': step,
        'seed': options.seed,
        'weights': options.weights,
        'truncation': options.truncation or None,
        'set': image_set.name,
        'split': image_set.split,
        'sha256': image_set.sha256,
        'fakes': len(fakes.pixels),
        'reals': len(chosen),
        **found,
    }
    if len(halves[1]):
        one, other = (power_spectrum.of_images(image_set.images[np.sort(x)]) for x in halves)
        between = power_spectrum.summary(power_spectrum.decibels(one, other))
        record['distance_db_of_halves_of_the_reals'] = between['distance_db']
    arrays = {'frequency': real.frequency, 'difference_db': difference}
    for name, spectrum in (('real', real), ('fake', fake)):
        arrays |= {f'{name}_mean': spectrum.mean, f'{name}_std': spectrum.std}
    return SampleOutput(
        title=(
            f'spectra of {len(fakes.pixels)} fakes and {len(chosen)} real images '
            f'({found["distance_db"]:.2f} dB apart, {found["high_db"]:+.2f} dB at the highest quarter)'
        ),
        name=fakes.name,
        pixels=_draw(real, fake, difference)[None],
        columns=1,
        arrays=arrays,
        record=record | {name: x.tolist() for name, x in arrays.items()},
    )


def _draw(real: Spectrum, fake: Spectrum, difference: np.ndarray) -> np.ndarray:
    """The figure as pixels (h, w, 3): both spectra with their spread, and the difference below."""
    figure = Figure(figsize=(6, 5), dpi=_DPI)
    above, below = figure.subplots(2, sharex=True, height_ratios=[2, 1])
    for number, (name, x) in enumerate((('real', real), ('fake', fake))):
        colour = style.colour(number)
        # Frequency 0 is the brightness, whose power would hide the others.
        frequency, mean, std = (values[1:] for values in (x.frequency, x.mean, x.std))
        least = np.maximum(mean - std, x.floor)
        above.plot(frequency, mean + x.floor, color=colour, label=f'{name}, mean and deviation')
        above.fill_between(frequency, least, mean + std, color=colour, alpha=0.15, linewidth=0)
    above.set_yscale('log')
    above.set_ylabel('power')
    above.legend(frameon=False)
    below.axhline(0, color=style.SOFT, linewidth=0.8)
    below.plot(real.frequency[1:], difference[1:], color=style.colour(1))
    below.set_ylabel('fake / real, dB')
    below.set_xlabel('cycles per pixel')
    figure.tight_layout()
    buffer = io.BytesIO()
    figure.savefig(buffer, format='png')
    return np.asarray(Image.open(buffer).convert('RGB'))
