"""Options of `--mode=diagnose`: what the discriminator of a checkpoint does to distances.

    python launch.py --mode=diagnose --workdir=runs/digits

A file like this one can be given whole: `--diagnose=my_diagnose.py`.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    c = ConfigDict()
    # Step of the checkpoint. 0: the newest.
    c.step = 0
    # Images of each kind: real, fake and between them.
    c.num = 128
    # Pairs of images that climb the ratio |D(x) - D(y)| / |x - y|, the steepest of all images.
    c.starts = 32
    # Ratios that each pair meets.
    c.ascent_steps = 40
    # Lanczos steps for the norm of each layer.
    c.norm_steps = 64
    # Squarings of the Gram iteration that bounds each norm from above.
    c.gram_iterations = 6
    # Split of the run's set that D was not trained on, such as test, to compare its logits there.
    # Empty: none. The digits have no other.
    c.held_out = ''
    return c.lock()
