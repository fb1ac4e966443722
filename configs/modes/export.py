"""Options of `--mode=export`: the generator of a run as a file for other programs.

    python launch.py --mode=export --workdir=runs/digits --export.format=stablehlo

A file like this one can be given whole: `--export=my_export.py`.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    c = ConfigDict()
    # safetensors (arrays and config, for snjax.load and others), stablehlo (a program for JAX
    # without snjax) or onnx (a program for ONNX Runtime and others).
    c.format = 'safetensors'
    # File to write. Empty: gen_step<STEP>_<WEIGHTS>.<FORMAT> in the folder exported of the workdir.
    c.out = ''
    # Weights of the generator: ema (moving average), raw, or auto (ema if the run kept one).
    c.weights = 'auto'
    # Step of the checkpoint. 0: the newest.
    c.step = 0
    return c.lock()
