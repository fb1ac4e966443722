"""Other implementations of the same training step, to run beside ours. PyTorch is needed here alone.

What a command line may name is here, where no PyTorch is: `FORMS` are ways to run `benchmarks.peers.pytorch`.
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
    """Of a checkout.

    Raises:
        ValueError: it is none.
    """
    root = pathlib.Path(checkout) / 'torch_mimicry'
    if not (root / 'nets').is_dir():
        raise ValueError(f'--mimicry={checkout}: there is no torch_mimicry/nets; clone it')
    return root
