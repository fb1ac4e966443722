"""`hf://owner/name@revision`: generators on the Hugging Face Hub, by huggingface_hub. No JAX.

A model there that `run.push` wrote has the file `generator.safetensors`, which holds the config, too
(`snjax.runs.generator_file`). Tokens, the cache, proxies and the address of the hub are those of
huggingface_hub: `hf auth login`, HF_TOKEN, HF_HOME, HF_ENDPOINT, HF_HUB_OFFLINE.
"""

import contextlib
import importlib
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

GENERATOR_NAME = 'generator.safetensors'
SCHEME = 'hf://'
_REPO = r'[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*'
# Also slips: one slash, as pathlib leaves it, capitals, or the address of the page.
_MEANT = re.compile(r'hf:/|https?://(huggingface|hf)\.co/', re.IGNORECASE)
_INSTALL = "pip install 'snjax[hub]', or pip install 'huggingface_hub>=1'"


class Address(NamedTuple):
    """A model on the hub.

    Attributes:
        repo: 'owner/name'.
        revision: a branch, a tag or a commit; None for the branch `main`.
    """

    repo: str
    revision: str | None

    def __str__(self) -> str:
        return f'{SCHEME}{self.repo}' + (f'@{self.revision}' if self.revision else '')


def is_address(text: str | os.PathLike) -> bool:
    """Whether it means a model on the hub, and no path; `parse` refuses those that are not well written."""
    return _MEANT.match(os.fspath(text)) is not None


def parse(text: str) -> Address:
    """Reads 'hf://owner/name' or 'hf://owner/name@revision'; raises a ValueError for others."""
    found = re.fullmatch(rf'{SCHEME}({_REPO})(?:@([\w./-]+))?', text)
    if not found:
        raise ValueError(
            f'{text!r} is no model on the hub: write hf://owner/name, or with @revision'
        )
    return Address(found[1], found[2])


def download(address: Address) -> pathlib.Path:
    """The generator of a model as a file in the cache of huggingface_hub.

    The path has the commit in it. Without a network it is the file of the last download.

    Raises:
        ValueError: of one line: there is no such model, revision or generator, the token is
            refused, or the hub cannot be reached.
        ModuleNotFoundError: huggingface_hub is not installed.
    """
    package = library(f'{address}')
    with _one_line(package, address):
        found = package.hf_hub_download(address.repo, GENERATOR_NAME, revision=address.revision)
    return pathlib.Path(found)


def is_of(path: str | os.PathLike, address: Address) -> bool:
    """Whether a path is that of a download of the same model, at whatever revision."""
    return 'models--' + address.repo.replace('/', '--') in pathlib.Path(path).parts


def check_can_push(repo: str) -> None:
    """Raises a ValueError for a name that is no model's, and a ModuleNotFoundError without
    huggingface_hub.
    """
    if not re.fullmatch(_REPO, repo):
        raise ValueError(f'{repo!r} is no name of a model on the hub: write owner/name')
    library(f'a push to {repo}')


def upload(folder: pathlib.Path, repo: str, *, private: bool | None, message: str) -> Address:
    """Makes a model of the files of a folder, or a new commit of it; the address of the commit.

    Args:
        folder: with nothing but the files.
        repo: 'owner/name'.
        private: of a new model; None for what is usual for its owner. An old one stays as it is.
        message: of the commit.

    Raises:
        ValueError: of one line: the token is missing or refused, it may not write there, or the
            hub cannot be reached.
        ModuleNotFoundError: huggingface_hub is not installed.
    """
    check_can_push(repo)
    package = library(repo)
    with _one_line(package, Address(repo, None)):
        package.create_repo(repo, private=private, exist_ok=True)
        made = package.upload_folder(repo_id=repo, folder_path=folder, commit_message=message)
    return Address(repo, made.oid)


def library(what: str) -> Any:
    """The package huggingface_hub; raises a ModuleNotFoundError that says what needs it."""
    try:
        for name in ('.constants', '.errors', '.utils.logging'):
            importlib.import_module(f'huggingface_hub{name}')
        return importlib.import_module('huggingface_hub')
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f'{what} needs {error.name}: {_INSTALL}', name=error.name
        ) from error


@contextlib.contextmanager
def _one_line(package: Any, address: Address) -> Iterator[None]:
    """Turns what huggingface_hub raises into a ValueError of one line, without its warnings of each
    further try.
    """
    log = package.utils.logging
    before = log.get_verbosity()
    log.set_verbosity_error()
    try:
        yield
    except Exception as error:  # its errors share no class: some are the HTTP client's
        raise ValueError(_explained(package, address, error)) from error
    finally:
        log.set_verbosity(before)


def _explained(package: Any, address: Address, error: Exception) -> str:
    known, cause = package.errors, _cause(error)
    code = getattr(getattr(cause, 'response', None), 'status_code', None)
    log_in = 'log in by `hf auth login`, or by HF_TOKEN'
    if isinstance(error, known.GatedRepoError):
        return f'{address} is gated: accept its conditions on its page, and {log_in}'
    if isinstance(error, known.RevisionNotFoundError):
        return (
            f'{address}: the model has no revision {address.revision}; give a branch, tag or commit'
        )
    if isinstance(error, known.RepositoryNotFoundError):
        return (
            f'{address}: the hub shows no such model; mend the name, or for a private one {log_in}'
        )
    if isinstance(error, known.EntryNotFoundError) and code == 404:
        return f'{address} has no {GENERATOR_NAME}: give a model that run.push(...) wrote'
    if code == 401 and package.get_token() is None:
        return f'{address}: the hub has it for nobody without a token; mend the name, or {log_in}'
    if code == 401:
        return f'{address}: the hub refuses the token; {log_in}, with another one'
    if code == 403:
        return f'{address}: the token has no right to that; {log_in}, with one that may write there'
    if code is not None:
        return f'{address}: the hub answers {code} ({_first_line(cause)}); try again later'
    if package.constants.HF_HUB_OFFLINE:
        return (
            f'{address} cannot be had: HF_HUB_OFFLINE forbids the network, and the cache lacks it'
        )
    if _is_of_the_network(cause):
        why = f'{package.constants.ENDPOINT} cannot be reached ({_first_line(cause)})'
        is_download = isinstance(error, known.LocalEntryNotFoundError)
        return f'{address}: {why}' + (', and the cache lacks it' if is_download else '')
    return f'{address}: {_first_line(error)}'


def _cause(error: BaseException) -> BaseException:
    """The error that it comes from which has an answer of the hub, or else the first of all."""
    while getattr(error, 'response', None) is None and error.__cause__ is not None:
        error = error.__cause__
    return error


def _is_of_the_network(error: BaseException) -> bool:
    """Whether an error comes from the HTTP client or from a socket."""
    return type(error).__module__.startswith('http') or isinstance(error, ConnectionError)


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), repr(error))
