"""A stand-in of the Hugging Face Hub: a server that speaks what huggingface_hub calls, in memory.

Models with commits and branches, tokens that read or write, uploads through git-LFS and in the
commit itself, answers and headers of errors as of the real hub.
"""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import yaml

WRITER, READER = 'hf_of_a_writer', 'hf_of_a_reader'
_MODEL = r'([\w.-]+/[\w.-]+)'


class Hub:
    """The server; a context manager.

    Attributes:
        url: its address, for HF_ENDPOINT.
        models: by name, the files of each commit by its id; the last one is the branch `main`.
        private: names of models that only tokens may see.
        gated: names of models that nobody may read.
        down: the status of every answer; None while it works.
        calls: method and path of every request.
    """

    def __init__(self):
        self.models: dict[str, dict[str, dict[str, bytes]]] = {}
        self.private: set[str] = set()
        self.gated: set[str] = set()
        self.down: int | None = None
        self.calls: list[str] = []
        self.objects: dict[str, bytes] = {}  # git-LFS
        handler = type('Handler', (_Handler,), {'hub': self})
        self._server = ThreadingHTTPServer(('127.0.0.1', 0), handler)
        self.url = f'http://127.0.0.1:{self._server.server_port}'

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *error):
        self._server.shutdown()
        self._server.server_close()

    def commit(self, repo: str, files: dict[str, bytes]) -> str:
        """A new commit of a model with more files or other ones; its id."""
        commits = self.models[repo]
        before = next(reversed(commits.values()), {})
        after = before | files
        text = repr([len(commits), sorted(after.items())])
        oid = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        commits[oid] = after
        return oid

    def find(self, repo: str, revision: str) -> str | None:
        """The commit that a revision means."""
        commits = self.models[repo]
        if revision == 'main':
            return next(reversed(commits), None)
        return revision if revision in commits else None


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = 'HTTP/1.1'

    def log_message(self, *args):
        pass

    def do_GET(self):
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def _answer(self):
        self._body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
        if 'chunked' in self.headers.get('Transfer-Encoding', ''):
            self._body = self._chunks()
        path = unquote(self.path.partition('?')[0])
        self.hub.calls.append(f'{self.command} {path}')
        if self.hub.down:
            return self._send(self.hub.down, {'error': 'Maintenance'})
        token = (self.headers.get('Authorization') or '').removeprefix('Bearer ')
        self._token = token
        if token not in ('', WRITER, READER):
            return self._refuse(401, message='Invalid credentials in Authorization header')
        for method, pattern, action in self._ROUTES:
            found = re.fullmatch(pattern, path)
            if self.command in method and found:
                if method == 'POST' and token != WRITER:
                    return self._refuse(403 if token else 401, message='No right to write')
                return action(self, *found.groups())
        return self._refuse(404, message=f'no such endpoint: {self.command} {path}')

    def _chunks(self):
        body = b''
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    # ---- what is asked

    def _create(self):
        asked = json.loads(self._body)
        repo = f'{asked["organization"]}/{asked["name"]}'
        if repo in self.hub.models:
            return self._send(409, {'error': 'exists', 'url': f'{self.hub.url}/{repo}'})
        self.hub.models[repo] = {}
        if asked.get('private') or asked.get('visibility') == 'private':  # older and newer clients
            self.hub.private.add(repo)
        return self._send(200, {'url': f'{self.hub.url}/{repo}', 'name': repo})

    def _validate(self):
        parts = json.loads(self._body)['content'].split('---\n')
        is_good = len(parts) > 2 and isinstance(yaml.safe_load(parts[1]), dict)
        errors = [] if is_good else [{'message': 'no metadata'}]
        return self._send(200 if is_good else 400, {'errors': errors, 'warnings': []})

    def _preupload(self, repo, revision):
        files = [
            {
                'path': file['path'],
                'uploadMode': 'lfs' if file['path'].endswith('.safetensors') else 'regular',
                'shouldIgnore': False,
                'oid': None,
            }
            for file in json.loads(self._body)['files']
        ]
        return self._send(200, {'files': files})

    def _batch(self, repo):
        objects = [
            asked | {'actions': {'upload': {'href': f'{self.hub.url}/lfs/{asked["oid"]}'}}}
            for asked in json.loads(self._body)['objects']
        ]
        return self._send(200, {'objects': objects, 'transfer': 'basic'})

    def _put(self, oid):
        assert hashlib.sha256(self._body).hexdigest() == oid
        self.hub.objects[oid] = self._body
        return self._send(200, {})

    def _commit(self, repo, revision):
        files = {}
        for line in self._body.splitlines():
            entry = json.loads(line)
            value = entry['value']
            if entry['key'] == 'file':
                files[value['path']] = base64.b64decode(value['content'])
            elif entry['key'] == 'lfsFile':
                files[value['path']] = self.hub.objects[value['oid']]
        oid = self.hub.commit(repo, files)
        url = f'{self.hub.url}/{repo}/commit/{oid}'
        return self._send(200, {'success': True, 'commitOid': oid, 'commitUrl': url})

    def _resolve(self, repo, revision, name):
        hidden = repo in self.hub.private and not self._token
        if repo not in self.hub.models or hidden:
            if self._token:
                return self._refuse(404, 'RepoNotFound', 'Repository not found')
            return self._refuse(401, message='Invalid username or password.')
        if repo in self.hub.gated:
            return self._refuse(403, 'GatedRepo', 'Access to this model is restricted')
        commit = self.hub.find(repo, revision)
        if commit is None:
            return self._refuse(404, 'RevisionNotFound', f'Invalid rev id: {revision}')
        content = self.hub.models[repo][commit].get(name)
        if content is None:
            return self._refuse(
                404, 'EntryNotFound', 'Entry not found', **{'X-Repo-Commit': commit}
            )
        etag = hashlib.sha256(content).hexdigest()
        return self._send(200, content, **{'X-Repo-Commit': commit, 'ETag': f'"{etag}"'})

    _ROUTES = (
        ('POST', '/api/repos/create', _create),
        ('POST', '/api/validate-yaml', _validate),
        ('POST', rf'/api/models/{_MODEL}/preupload/([\w.-]+)', _preupload),
        ('POST', rf'/api/models/{_MODEL}/commit/([\w.-]+)', _commit),
        ('POST', rf'/{_MODEL}\.git/info/lfs/objects/batch', _batch),
        ('PUT', r'/lfs/(\w+)', _put),  # of the storage, which knows no tokens
        ('GET HEAD', rf'/{_MODEL}/resolve/([\w./-]+)/([\w.-]+)', _resolve),
    )

    # ---- answers

    def _refuse(self, status, code='', message='', **headers):
        headers |= {'X-Error-Code': code} if code else {}
        return self._send(status, {'error': message}, **headers, **{'X-Error-Message': message})

    def _send(self, status, content, **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(body)
