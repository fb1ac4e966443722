"""Files that are replaced in one step."""

import os
import uuid
from collections.abc import Iterable
from pathlib import Path


def replace_file(path: str | os.PathLike, content: str | bytes | Iterable[bytes]) -> None:
    """Writes a file so that readers see the old file or the whole new one, also after a crash.

    The content goes to a hidden file beside `path`, to the disk, and then to its name. Folders are
    made if they are missing. Processes may write the same file at the same time: the last one wins.

    Args:
        path: the file.
        content: text (written as UTF-8), bytes, or chunks of bytes.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    chunks = [content.encode()] if isinstance(content, str) else content
    # The name does not contain that of the file: TensorBoard reads every name with 'tfevents'.
    new = path.with_name(f'.{uuid.uuid4().hex}.tmp')
    try:
        with open(new, 'xb') as file:
            file.writelines([chunks] if isinstance(chunks, bytes) else chunks)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    finally:
        new.unlink(missing_ok=True)
