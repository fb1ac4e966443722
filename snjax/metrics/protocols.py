"""Protocols of a score: which real images, how many of them, and how many fakes.

The same SNGAN weights have been published with FID 23.9, 21.7 and 16.8, depending on the protocol
only. The Frechet distance of finite samples is biased upwards, the more the fewer samples, and the
training set is nearer to the fakes than the test set.
"""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Protocol:
    """Counts of the images that a score compares.

    Attributes:
        name: in tables and in `scores.json`.
        split: of the data set, for the real images.
        real: number of real images; None for all of the split.
        fake: number of fakes.
    """

    name: str
    split: str
    real: int | None
    fake: int


PROTOCOLS = {
    # Miyato et al. 2018, appendix B.1
    'paper': Protocol('paper', 'test', 10_000, 5_000),
    # Lucic et al. 2018 and compare_gan
    '10k_10k_test': Protocol('10k_10k_test', 'test', 10_000, 10_000),
    # mimicry, StudioGAN and most later papers, on CIFAR-10
    '50k_50k_train': Protocol('50k_50k_train', 'train', 50_000, 50_000),
}


def parse(text: str) -> tuple[Protocol, ...]:
    """Parses a comma-separated list of protocols.

    Args:
        text: names of `PROTOCOLS`, or SPLIT/REAL/FAKE, where REAL may be 'all': 'train/all/1000'.

    Raises:
        ValueError: any other text.
    """
    return tuple(_parse_one(part.strip()) for part in text.split(','))


def _parse_one(text: str) -> Protocol:
    if text in PROTOCOLS:
        return PROTOCOLS[text]
    split, *counts = text.rsplit('/', 2)
    is_good = len(counts) == 2 and split and all(c.isdecimal() for c in counts if c != 'all')
    if not is_good or counts[1] == 'all' or '0' in (c.lstrip('0') or '0' for c in counts):
        raise ValueError(
            f'evaluate.protocols has {text!r}: accepted are {", ".join(PROTOCOLS)} and '
            'SPLIT/REAL/FAKE, as train/all/1000 or test/10000/5000'
        )
    real = None if counts[0] == 'all' else int(counts[0])
    return Protocol(text, split, real, int(counts[1]))
