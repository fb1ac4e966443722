"""Options of `--mode=compare`: scores of images of any origin against real ones, without a run.

    python launch.py --mode=compare --compare.fakes=samples --compare.real=photos
    python launch.py --mode=compare --compare.fakes=samples.npz --compare.real=cifar10/test \
        --compare.extractor=cifar_resnet56

A file like this one can be given whole: `--compare=my_compare.py`.
"""

from ml_collections import ConfigDict, FieldReference


def get_config() -> ConfigDict:
    c = ConfigDict()
    # The images to score: a folder (with its subfolders), a zip archive, an .npz or a .parquet file.
    c.fakes = ''
    # The real ones: the same, or a set of TFDS with its split after a slash, as cifar10/test (train
    # without one; a name with a slash of its own needs one).
    c.real = ''
    # Feature network: inception (FID), inception_clean, dinov2, clip, cifar_resnet56, digits;
    # fitted, a classifier of the real set's own classes; patches, the sliced Wasserstein distance,
    # which needs no network; or a function of your own, as my_features:dino.
    c.extractor = 'inception'
    # File or folder with the weights of the feature network. Empty: $SNJAX_WEIGHTS, or else
    # ~/.cache/snjax/weights.
    c.weights = ''
    # Pixels of a square's side, or height,width. 0: those of the first of the fakes.
    c.image_size = FieldReference(0, field_type=object)
    # How images of another size are made to fit: crop, pad or stretch (data.fit of a training).
    c.fit = 'crop'
    # 1 (grey) or 3 (colour); images are converted.
    c.channels = 3
    # Images per call of the feature network.
    c.batch_size = 100
    # Images of each kind for precision, recall, density and coverage.
    c.neighbour_num = 10_000
    # Error bars, as evaluate.half_samples: number of random halves; 0: none.
    c.half_samples = 0
    # Probability with which an error bar holds the expected score.
    c.confidence = 0.95
    # Add the scores of infinitely many fakes, as evaluate.extrapolate.
    c.extrapolate = False
    # Seed of every random choice in the scores.
    c.seed = 0
    return c.lock()
