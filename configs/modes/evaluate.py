"""Options of `--mode=evaluate`: scores of finished runs, by any protocol.

    python launch.py --mode=evaluate --workdir=runs/digits --evaluate.protocols=train/all/1000

A file like this one can be given whole: `--evaluate=my_evaluate.py`. Without any option a run is
scored as its own config says under `eval`.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    c = ConfigDict()
    # Feature network: digits, cifar_resnet56, inception (FID), inception_clean, dinov2, clip;
    # fitted, a classifier of the set's own classes; patches, the sliced Wasserstein distance, which
    # needs no network; or a function of your own, as my_features:dino. Empty: the run's own.
    c.extractor = ''
    # File or folder with the weights of the feature network. Empty: the run's own setting.
    c.weights = ''
    # Number of fakes, compared with the whole training set, if protocols is empty. 0: the run's
    # own.
    c.num_samples = 0
    # Protocols: paper, 10k_10k_test, 50k_50k_train, or SPLIT/REAL/FAKE such as train/all/1000;
    # several with commas. Empty: the training split, all of it, and num_samples fakes.
    c.protocols = ''
    # Generators to score: auto (EMA if the run kept one, running batch statistics), grid (all
    # combinations), or some of them: ema/running,raw/batch,ema/reestimated.
    c.variants = 'auto'
    # Fakes per call of the generator, and per batch of batch statistics. 0: the run's own.
    c.batch_size = 0
    # Images of each kind (real, fake) for precision, recall, density and coverage. 0: the run's
    # own.
    c.neighbour_num = 0
    # Error bars: number of random halves of the images that every score is taken of again; 0: none,
    # 200 is usual. They take that many times the time of the scores.
    c.half_samples = 0
    # Probability with which an error bar holds the expected score.
    c.confidence = 0.95
    # Add the Frechet distance and the classifier score of infinitely many fakes (Chong and Forsyth
    # 2020), whose bias does not depend on the number of fakes.
    c.extrapolate = False
    # Seed of z and of every random choice in the scores. -1: the run's own.
    c.seed = -1
    # Number of fakes to show beside their nearest training images, by features. 0: no picture.
    c.nearest = 0
    # Step of the checkpoint. 0: the newest, and the best if the run kept one.
    c.step = 0
    # Several steps, such as 10000,20000: scored in turn, each saved at once. Empty: see step.
    c.steps = ''
    return c.lock()
