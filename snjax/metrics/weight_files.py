"""Weights of published networks: files of named arrays, and checks of names and shapes."""

import hashlib
import pathlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import safetensors

from snjax.data import npz_file

Contents = tuple[dict[str, np.ndarray], dict[str, str]]  # arrays and metadata
_READ_ERRORS = (OSError, ValueError, safetensors.SafetensorError)


class Loaded(NamedTuple):
    """Weights of an extractor.

    Attributes:
        variables: for the network's `apply`.
        sha256: of the file that the weights were published in or read from.
    """

    variables: dict[str, Any]
    sha256: str


class WeightFile(NamedTuple):
    """How a weight file is read, and the words of its error messages.

    Attributes:
        reader: `read_npz` or `read_safetensors`.
        kind: the expected file, as in 'is no <kind>'.
        needed_for: what needs it and where it comes from.
        remedy: what to do about another or a damaged file.
    """

    reader: Callable[[pathlib.Path], Contents]
    kind: str
    needed_for: str
    remedy: str

    def check_exists(self, path: pathlib.Path) -> None:
        """Raises a FileNotFoundError, which says where the file comes from, if it is missing."""
        if not path.is_file():
            raise FileNotFoundError(
                f'{path} is not there: {self.needed_for}; --config.eval.weights=PATH'
            )

    def read(self, path: pathlib.Path) -> Contents:
        """Arrays by name, and metadata.

        Raises:
            FileNotFoundError: no such file.
            ValueError: another or a damaged file.
        """
        self.check_exists(path)
        try:
            return self.reader(path)
        except _READ_ERRORS as error:
            raise ValueError(f'{path} is no {self.kind} ({error}): {self.remedy}') from error


def read_npz(path: pathlib.Path) -> Contents:
    """The arrays of an `.npz`; it has no metadata."""
    arrays, _ = npz_file.read(path)
    return arrays, {}


def read_safetensors(path: pathlib.Path) -> Contents:
    """The arrays and the metadata of a `.safetensors`."""
    with safetensors.safe_open(path, framework='numpy') as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}
        return arrays, file.metadata() or {}


class StateDict(Mapping):
    """A published PyTorch state dict as arrays; remembers which of them were read.

    Args:
        arrays: by name.
        network: the network's name, for messages.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], network: str):
        self._arrays, self._network = arrays, network
        self._read: set[str] = set()

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._arrays:
            raise ValueError(f'these are not the weights of {self._network}: {name!r} is missing')
        self._read.add(name)
        return self._arrays[name]

    def __contains__(self, name: object) -> bool:
        return name in self._arrays

    def __iter__(self):
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def check_all_read(self) -> None:
        """Raises a ValueError for an array that the network has no place for.

        Batch counters (`num_batches_tracked`) are allowed.
        """
        unread = sorted(self._arrays.keys() - self._read)
        extra = [name for name in unread if not name.endswith('num_batches_tracked')]
        if extra:
            raise ValueError(
                f'these are not the weights of {self._network}: it has no {extra[0]!r}'
                + (f' and {len(extra) - 1} more' if extra[1:] else '')
            )

    def check_shapes(
        self, converted: Mapping[str, np.ndarray], expected: Mapping[str, tuple[int, ...]]
    ) -> None:
        """Raises a ValueError for a converted array whose shape the network does not have."""
        for name, shape in expected.items():
            if converted[name].shape != shape:
                raise ValueError(
                    f'these are not the weights of {self._network}: {name!r} would be '
                    f'{converted[name].shape}, not {shape}'
                )


def file_sha256(path: pathlib.Path) -> str:
    """Hex digest of a file."""
    with open(path, 'rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()
