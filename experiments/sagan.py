"""SAGAN: self-attention generative adversarial networks (Zhang et al. 2019, arXiv:1805.08318).

An SNGAN with three changes, and each is a key of the config: both players attend over the whole image
(`model.attention`, `snjax.nn.attention`), the generator is spectrally normalised too (`model.gen_normalization`),
and the two learn at different rates, 1e-4 and 4e-4, one update each (`optimizer.lr`, `optimizer.dis_lr`, `n_dis`).
"""

from experiments import sngan
from experiments.method import Config, require


class Method(sngan.Method):
    """An SNGAN with self-attention and a spectrally normalised generator."""

    def __init__(self, config: Config):
        require(config, 'model.gen_normalization', 'spectral')
        if not config.model.attention:
            raise ValueError(
                'model.attention is 0: sagan needs the height of the feature map that attends to itself, '
                'as --config.model.attention=16'
            )
        super().__init__(config)
