"""huggingface_hub as a process has it that was started with the variables of a stand-in hub."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from helpers.hub_server import WRITER, Hub


def _forget() -> None:
    # Its constants are read from the environment once, when it is imported.
    for name in [name for name in sys.modules if name.split('.')[0] == 'huggingface_hub']:
        del sys.modules[name]


@contextlib.contextmanager
def connected(hub: Hub, home: Path, **env: str) -> Iterator[pytest.MonkeyPatch]:
    """Within it huggingface_hub speaks to `hub`, as a user with a token that may write.

    Args:
        hub: the server.
        home: folder for the cache and the token.
        **env: further variables.
    """
    # Files of git-LFS go by its protocol, and not by that of Xet, whose storage is a service.
    values = {'HF_ENDPOINT': hub.url, 'HF_HOME': str(home), 'HF_HUB_DISABLE_XET': '1'}
    values |= {'HF_TOKEN': WRITER, 'HF_HUB_DISABLE_TELEMETRY': '1'} | env
    known = {name for name in os.environ if name.startswith(('HF_', 'HUGGING'))}
    _forget()
    with pytest.MonkeyPatch.context() as patch:
        for name in known:
            patch.delenv(name)
        for name, value in values.items():
            patch.setenv(name, value)
        yield patch
    _forget()
