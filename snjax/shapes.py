"""Shapes in signatures, as `Float[Array, 'b h w c']`, for the code that needs no jaxtyping.

`snjax.spectral` and what it imports run with jax, flax and numpy alone, and take these names from
here. They are jaxtyping's where that is installed, and the tests then check every shape; otherwise
`Float[Array, 'b h w c']` means `Array`.
"""

from typing import TYPE_CHECKING

from jax import Array

if TYPE_CHECKING:
    from jaxtyping import Complex, Float, Int
else:
    try:
        from jaxtyping import Complex, Float, Int
    except ModuleNotFoundError:

        class _Unchecked:
            def __getitem__(self, array_and_shape):
                return array_and_shape[0]

        Complex = Float = Int = _Unchecked()

__all__ = ['Array', 'Complex', 'Float', 'Int']
