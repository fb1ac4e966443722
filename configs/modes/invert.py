"""Options of `--mode=invert`: find z whose image has given measurements (encode, inpaint, enlarge).

    python launch.py --mode=invert --workdir=runs/digits --invert.operator=inpaint

A file like this one can be given whole: `--invert=my_invert.py`.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    c = ConfigDict()
    # What is measured of an image: identity (all of it), inpaint, superresolve, denoise or
    # compressed_sensing.
    c.operator = 'identity'
    # Folder of images, taken in the order of their names. Empty: images of the run's own set.
    c.path = ''
    # Split of the run's set, such as test. Empty: the training split. The digits have no other.
    c.split = ''
    # Number of images: the first of the folder, or drawn from the split.
    c.num = 16
    # Starts per image; the best is kept. If the class of an image is unknown, each start takes the
    # next class.
    c.restarts = 4
    # Steps of Adam from each start.
    c.steps = 300
    # Learning rate at the first step; it falls to 0 along half a cosine.
    c.lr = 0.1
    # Weight of |z|^2 / (2 dim_z) in the objective. Ignored for uniform z.
    c.prior_weight = 1e-3
    # Loss between measurements, a mean over their values: l2 or l1; for whole images (identity,
    # denoise) also lap1 and l2_lap1.
    c.loss = 'l2'
    # Pixels that inpaint hides: centre (a square), random (single pixels) or half (the lower half).
    c.mask = 'centre'
    # Share of the pixels that inpaint hides.
    c.fraction = 0.25
    # Factor by which superresolve shrinks height and width.
    c.factor = 4
    # Standard deviation of the noise of denoise; images are in [-1, 1].
    c.noise = 0.2
    # Number of random projections that compressed_sensing takes of an image.
    c.measurements = 100
    # Starts per call of the generator.
    c.batch_size = 64
    # Seed of the choice of images, the starts, the noise, random pixels and projections.
    c.seed = 0
    # Weights of the generator: ema (moving average), raw, or auto (ema if the run kept one).
    c.weights = 'auto'
    # Step of the checkpoint. 0: the newest.
    c.step = 0
    return c.lock()
