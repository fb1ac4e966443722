"""A headless Chromium, driven by its DevTools protocol: `apt-get install chromium`."""

import base64
import contextlib
import itertools
import json
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from helpers.waiting import wait_until

NAMES = ('chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable')
# The visible text of a page, with the shadow roots of TensorBoard's components.
_TEXT = """(() => {
  const seen = node => node.nodeType === 3 ? node.data :
    node.nodeType !== 1 && node.nodeType !== 11 ? '' :
    ['SCRIPT', 'STYLE'].includes(node.nodeName) ? '' :
    [node.shadowRoot, ...node.childNodes].filter(Boolean).map(seen).join(' ');
  return seen(document.body).replace(/\\s+/g, ' ');
})()"""


class Tab:
    """A page of the browser."""

    def __init__(self, websocket: 'WebSocket'):
        self._websocket = websocket
        self._ids = itertools.count(1)

    def call(self, method: str, **params: Any) -> Any:
        """Sends a command and returns its answer; drops the events that arrive meanwhile."""
        number = next(self._ids)
        self._websocket.send(json.dumps({'id': number, 'method': method, 'params': params}))
        while True:
            answer = json.loads(self._websocket.receive())
            if answer.get('id') == number:
                assert 'error' not in answer, answer
                return answer['result']

    def go(self, url: str, *, dark: bool = False, width: int = 1300, height: int = 900) -> None:
        """Opens a page in a light or dark window of this size, and waits until it has loaded."""
        scheme = {'name': 'prefers-color-scheme', 'value': 'dark' if dark else 'light'}
        self.call('Emulation.setEmulatedMedia', features=[scheme])
        size = {'width': width, 'height': height, 'deviceScaleFactor': 1, 'mobile': False}
        self.call('Emulation.setDeviceMetricsOverride', **size)
        self.call('Page.navigate', url=url)
        self.wait(lambda: self.evaluate('document.readyState') == 'complete')

    def evaluate(self, javascript: str) -> Any:
        """Returns the value of an expression in the page, as JSON types."""
        answer = self.call('Runtime.evaluate', expression=javascript, returnByValue=True)
        assert 'exceptionDetails' not in answer, answer
        return answer['result'].get('value')

    def text(self) -> str:
        """Returns all text of the page."""
        return self.evaluate(_TEXT)

    def wait(self, condition: Callable[[], Any], seconds: float = 60) -> None:
        """Waits until the condition holds; fails with the page's text after `seconds`."""
        assert wait_until(condition, seconds=seconds, interval=0.2), self.text()[:3000]

    def screenshot(self, path: Path, *, whole: bool = False) -> Path:
        """Writes the visible part of the page, or all of it, as PNG."""
        answer = self.call('Page.captureScreenshot', format='png', captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer['data']))
        return path


class WebSocket:
    """A client of RFC 6455 for text messages from this machine."""

    def __init__(self, url: str):
        parts = urllib.parse.urlsplit(url)
        self._socket = socket.create_connection((parts.hostname, parts.port), timeout=120)
        self._file = self._socket.makefile('rb')
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f'GET {parts.path} HTTP/1.1',
            f'Host: {parts.netloc}',
            'Upgrade: websocket',
            'Connection: Upgrade',
            f'Sec-WebSocket-Key: {key}',
            'Sec-WebSocket-Version: 13',
        ]
        self._socket.sendall('\r\n'.join([*lines, '', '']).encode())
        assert b' 101 ' in self._file.readline()
        while self._file.readline().strip():
            pass

    def send(self, text: str) -> None:
        data, mask = text.encode(), os.urandom(4)
        head = struct.pack('!BBQ', 0x81, 0x80 | 127, len(data))
        masked = bytes(b ^ mask[i % 4] for i, b in enumerate(data))
        self._socket.sendall(head + mask + masked)

    def receive(self) -> str:
        """Returns the next text message, its fragments joined; drops all other frames."""
        parts = []
        while True:
            first, length = self._file.read(2)
            if length == 126:
                (length,) = struct.unpack('!H', self._file.read(2))
            elif length == 127:
                (length,) = struct.unpack('!Q', self._file.read(8))
            data = self._file.read(length)
            if first & 0x0F in (0, 1):
                parts.append(data)
                if first & 0x80:
                    return b''.join(parts).decode()

    def close(self) -> None:
        self._file.close()
        self._socket.close()


@contextlib.contextmanager
def open_tab() -> Iterator[Tab]:
    """Opens a tab of a new browser; skips the test where Chromium is not installed."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f'none of {", ".join(NAMES)} is installed: apt-get install chromium')
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        flags = [
            '--headless',
            '--no-sandbox',
            '--disable-gpu',
            '--hide-scrollbars',
            '--no-first-run',
        ]
        flags += ['--remote-debugging-port=0', f'--user-data-dir={folder}', 'about:blank']
        process = subprocess.Popen(
            [program, *flags], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            websocket = WebSocket(_page_of(Path(folder) / 'DevToolsActivePort', process))
            with contextlib.closing(websocket):
                yield Tab(websocket)
        finally:
            process.terminate()
            process.wait(30)


def _page_of(port_file: Path, process: subprocess.Popen) -> str:
    """Returns the WebSocket address of the first page, once the browser has written its port."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError, IndexError, StopIteration):
            port = port_file.read_text().splitlines()[0]
            with urllib.request.urlopen(f'http://127.0.0.1:{port}/json/list', timeout=20) as answer:
                pages = json.loads(answer.read())
            return next(p['webSocketDebuggerUrl'] for p in pages if p['type'] == 'page')
        time.sleep(0.1)
    raise RuntimeError(f'the browser did not start; it ended with {process.poll()}')
