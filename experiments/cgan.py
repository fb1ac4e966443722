"""cGANs with projection discriminator (Miyato and Koyama 2018, arXiv:1802.05637).

An SNGAN that knows classes. The discriminator's logit is psi(phi(x)) + y^T V phi(x) (eq. 3 of the paper): the image's
pooled features phi(x) meet the embedding of the class they are claimed to be of, whose table is spectrally normalised
as every other weight. The generator's batch norms have a scale and a shift for every class. The pieces:

* the inner product with the class's embedding: head 'projection' in `snjax.models`;
* conditional batch norm: `snjax.nn.normalization.ConditionalBatchNorm`;
* classes of fakes, uniform and independent of the real images': `experiments.gan.Gan`.
"""

from experiments import sngan
from experiments.method import Config, require


class Method(sngan.Method):
    """An SNGAN whose discriminator is told the class by projection."""

    def __init__(self, config: Config):
        require(config, 'model.head', 'projection')
        super().__init__(config)
