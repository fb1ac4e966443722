"""Shapes in the signatures of `snjax` are enforced while the tests run, so that none can rot."""

import jaxtyping
import pytest

jaxtyping.install_import_hook('snjax', 'beartype.beartype')  # before anything imports snjax


@pytest.fixture
def own_errors():
    """Lets wrong shapes and types through to the library, to see its own error messages."""
    jaxtyping.config.update('jaxtyping_disable', True)
    yield
    jaxtyping.config.update('jaxtyping_disable', False)
