"""The contract between the training loop and a method: all that the loop knows of SNGAN, WGAN-GP or
GLO.
"""

from typing import Any, Protocol, runtime_checkable

import jax


@runtime_checkable
class Method(Protocol):
    """A way to train a generator.

    The state is any pytree with an int32 leaf `.step` that counts generator updates.

    Attributes:
        batch_size: examples of one batch, over all devices.
        batches_per_step: batches that one `train_step` takes.
        num_classes: classes that the players are conditioned on; 0 for none.
        num_conditions: numbers per image that they are conditioned on in place of classes; 0 for none.
        state_axes: which leaves of the state are sharded over the devices (`snjax.parallel.shard`);
            None where every leaf is replicated. `train_step` sees this device's rows of a sharded
            leaf, every other function sees the whole leaf.
    """

    @property
    def batch_size(self) -> int: ...

    @property
    def batches_per_step(self) -> int: ...

    @property
    def num_classes(self) -> int: ...

    @property
    def num_conditions(self) -> int: ...

    @property
    def state_axes(self) -> Any: ...

    def with_images(self, images: Any, labels: Any = None) -> 'Method':
        """The method for a training set of these images (n, H, W, C) and labels (n,); most
        ignore both.

        Raises:
            ValueError: the method cannot be trained on these images.
        """
        ...

    def init(self, rng: jax.Array) -> Any:
        """A fresh state, with no leaf sharded."""
        ...

    def train_step(
        self, state: Any, batch: dict[str, jax.Array], rng: jax.Array
    ) -> tuple[Any, dict[str, jax.Array]]:
        """One step on this device's share of the batches.

        A pure function that runs under the mapped axis of `snjax.parallel`.

        Args:
            state: before the step.
            batch: `image` (batches_per_step, b, H, W, C) in [-1, 1], `label` and `index`
                (batches_per_step, b): this device's share of the batches.
            rng: key of the run.

        Returns:
            The new state, and scalars that are equal on all devices.
        """
        ...

    def histogram_arrays(self, state: Any) -> dict[str, Any]:
        """Arrays by name that are logged as histograms, the weights above all."""
        ...

    def sample(
        self, state: Any, rng: jax.Array, num: int, labels: jax.Array | None = None
    ) -> jax.Array:
        """`num` images (num, H, W, C) in [-1, 1]; without labels the classes take turns."""
        ...
