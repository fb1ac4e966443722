"""Other implementations of the same training step, to run beside ours. Only they need PyTorch.

Names for command lines are defined here, where PyTorch is not imported: `FORMS` are ways to run
`benchmarks.peers.pytorch`.
"""

import pathlib

FORMS = {
    'eager': (),
    'channels last': ('channels_last',),
    'bfloat16': ('bf16',),
    'compiled': ('channels_last', 'compile'),
    'channels last, bfloat16': ('channels_last', 'bf16'),
    'compiled, bfloat16': ('channels_last', 'compile', 'bf16'),
}


def mimicry_package(checkout: str) -> pathlib.Path:
    """The package folder of a mimicry checkout.

    Raises:
        ValueError: the folder is no checkout.
    """
    root = pathlib.Path(checkout) / 'torch_mimicry'
    if not (root / 'nets').is_dir():
        raise ValueError(f'--mimicry={checkout}: there is no torch_mimicry/nets; clone it')
    return root
