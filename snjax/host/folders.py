"""Folders of this user on this machine."""

import os
import pathlib

from snjax.host import paths


def cache_folder(given: str | None = None) -> pathlib.Path:
    """The folder of prepared data: `given`, or else `$SNJAX_CACHE`, or else `~/.cache/snjax`.

    Raises:
        ValueError: it lies in the home folder, and there is none.
    """
    folder = given or os.environ.get('SNJAX_CACHE') or '~/.cache/snjax'
    return paths.expanded(folder, 'the folder of the cache (SNJAX_CACHE)')
