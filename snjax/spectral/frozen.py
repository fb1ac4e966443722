"""The warning of a training that forgot to advance u.

A layer that is frozen while its weight is trained divides by a sigma that falls further behind with
every update, and nothing else would show it.
"""

import warnings

import jax

from snjax.shapes import Array, Float

MESSAGE = (
    'the gradient of a spectrally normalized weight is taken, but u has never advanced since it '
    "was made: sigma is not the weight's once that is updated. Advance in every update: linen "
    "mutable=['spectral'] or advance(...), NNX train() and not eval(), normalize(train=True)"
)
_known = {'advanced': False, 'warned': False}


def note_advance() -> None:
    """Notes that u advances somewhere in this process: whoever does so knows of it."""
    _known['advanced'] = True


def watch(sigma: Float[Array, '']) -> Float[Array, '']:
    """Returns the sigma of a frozen layer. Warns, once in a process, if it is differentiated
    before any u has advanced."""
    return sigma if _known['advanced'] or _known['warned'] else _watched(sigma)


@jax.custom_jvp
def _watched(sigma):
    return sigma


@_watched.defjvp
def _warn(primals, tangents):
    # Runs only where sigma depends on what is differentiated: the weight, for u and v are constant.
    if not _known['advanced'] and not _known['warned']:
        _known['warned'] = True
        warnings.warn(MESSAGE, stacklevel=2)
    return primals[0], tangents[0]
