"""Options of `--mode=sample`: pictures of a finished or running run.

    python launch.py --mode=sample --workdir=runs/digits --sample.num=64

A file like this one can be given whole: `--sample=my_sample.py`.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    c = ConfigDict()
    # What to show: samples, interpolation, morph (between classes), neighbours (in the training set),
    # directions (along which images change most: SeFa), truncation or spectrum (the power of each
    # frequency beside that of the training set); of a GLO run also reconstruction, arithmetic and
    # latent_neighbours.
    c.what = 'samples'
    # Number of images, of what=samples, spectrum and reconstruction.
    c.num = 100
    # grid (one PNG), images (a folder of PNGs) or npz; interpolation and morph also gif, webp
    # and mp4 (needs `pip install 'snjax[video]'`).
    c.format = 'grid'
    # Seed of z.
    c.seed = 0
    # Bound on the absolute value of every entry of z. 0: none.
    c.truncation = 0.0
    # Weights of the generator: ema (moving average), raw, or auto (ema if the run kept one).
    c.weights = 'auto'
    # Step of the checkpoint. 0: the newest.
    c.step = 0
    # Class of the samples; of a morph the first class. -1: all classes in turn.
    c.label = -1
    # Last class of a morph. -1 together with label=-1: through all classes.
    c.label_to = -1
    # Numbers of the samples, of a model with conditions: 0.3, or 0.3,1 of several; of a morph the first
    # ones. Empty: those of a grid of the training images' numbers.
    c.condition = ''
    # Last numbers of a morph.
    c.condition_to = ''
    # Rows of the grid: interpolations or morphs, each with its own z, or samples with neighbours.
    c.rows = 8
    # Images of an interpolation or morph. gif, webp and mp4 return to the first one.
    c.frames = 10
    # Number of z that an interpolation or morph passes through. 0: 2 for an interpolation, and 1
    # for a morph, which then keeps its z.
    c.points = 0
    # How far a direction is followed to both sides, in standard deviations of z; of what=truncation the
    # largest bound. 0: 3, and 2; of uniform z, from its middle to the end of its range.
    c.extent = 0.0
    # Path between two z: slerp (on the sphere) or lerp (straight). Uniform z need lerp.
    c.path = 'slerp'
    # Frames per second: up to 50 of gif, 1000 of webp, 240 of mp4.
    c.fps = 10.0
    # Distribution fitted to the latents of GLO: full, diagonal, mixture (Gaussians), or class (a
    # full Gaussian per class).
    c.prior = 'full'
    # Number of Gaussians of prior=mixture.
    c.components = 10
    # Numbers of training images of GLO: 3,17,... to interpolate between or to reconstruct; groups
    # for arithmetic, as in 1,2-8,9+4.
    c.images = ''
    # An .npz file of --mode=invert, to interpolate between encoded images.
    c.latents = ''
    # Workdirs of other GLO runs, whose reconstructions are shown as well: a,b.
    c.others = ''
    # Number of nearest training images beside each sample.
    c.neighbours = 5
    return c.lock()
