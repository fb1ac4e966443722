"""Images in a zip archive, read where they lie: nothing is unpacked to the disk.

Archives come from other people, so what cannot be an image of this archive is refused before
anything is decoded: names that lead out of it, encrypted members, members that are larger than any
image, two members of one name.
"""

import pathlib
import stat
import zipfile
from collections import Counter

from snjax.data import folder_files

# Of one member; the compressed formats of images stay far below it.
MAX_MEMBER_BYTES = 256 << 20
# The module `zipfile` can stop these at the size that the archive declares.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1  # bit of the flags of a member
_OF_MACOS = '__MACOSX'  # a second tree, with attributes of the files


class ZipFiles:
    """The images of a zip archive, as `folder_files.FolderFiles` has them of a folder.

    Where all files lie in one folder of the archive, as if a folder was packed and not what is in
    it, names are relative to that folder. Hidden files, folders and links are left out.

    Args:
        root: the archive.

    Raises:
        ValueError: of one line: it is no archive, is damaged, or has a member that cannot be read.
    """

    def __init__(self, root: pathlib.Path):
        self.root = root
        try:
            self._archive = zipfile.ZipFile(root)
            members = self._archive.infolist()
        except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
            reason = ' '.join(str(error).split()) or type(error).__name__
            raise ValueError(
                f'{root} cannot be read as a zip archive ({reason}); set --config.data.path to a '
                'whole archive, or to a folder of images'
            ) from error
        self._members: dict[str, zipfile.ZipInfo] = {}
        for member in members:
            self._add(member)
        top = {name.partition('/')[0] for name in self._members}
        if len(top) == 1 and all('/' in name for name in self._members):
            self._members = {name.partition('/')[2]: m for name, m in self._members.items()}
        self.names, self.others = self._find()

    def _add(self, member: zipfile.ZipInfo) -> None:
        name = member.filename.replace('\\', '/')
        parts = name.split('/')
        if name.startswith('/') or '..' in parts or parts[0].endswith(':'):
            raise self._refusal(member, 'has a name that leads out of the archive')
        parts = [part for part in parts if part != '.']
        is_hidden = any(part.startswith('.') for part in parts) or parts[0] == _OF_MACOS
        if member.is_dir() or name.endswith('/') or is_hidden:
            return
        name = '/'.join(part for part in parts if part)
        if name in self._members:
            raise self._refusal(member, 'is there twice')
        self._members[name] = member

    def _find(self) -> tuple[list[str], Counter[str]]:
        accepted, others, images = folder_files.suffixes(), Counter(), []
        for name, member in self._members.items():
            suffix = pathlib.PurePosixPath(name).suffix.lower()
            if suffix in folder_files.DOCUMENTS:
                continue
            if suffix not in accepted:
                others[suffix or 'no ending'] += 1
            elif stat.S_ISLNK(member.external_attr >> 16):
                others['link'] += 1
            else:
                self._check(member)
                images.append(name)
        return sorted(images), others

    def _check(self, member: zipfile.ZipInfo) -> None:
        """Raises a ValueError of one line for a member that is not to be unpacked."""
        if member.flag_bits & _ENCRYPTED:
            raise self._refusal(member, 'is encrypted')
        if member.compress_type not in _METHODS:
            raise self._refusal(member, f'is compressed by method {member.compress_type}')
        if member.file_size > MAX_MEMBER_BYTES:
            size = f'{member.file_size / 1e6:,.0f} MB, and at most {MAX_MEMBER_BYTES / 1e6:,.0f}'
            raise self._refusal(member, f'would be {size} are unpacked')

    def _refusal(self, member: zipfile.ZipInfo, what: str) -> ValueError:
        return ValueError(
            f'{self.root} has a member {member.filename!r:.200} that {what}; unpack the archive and '
            'set --config.data.path to the folder, or pack it anew without that member'
        )

    def image(self, name: str) -> bytes:
        """What `pixels.decode` takes for an image; safe to call from several threads."""
        member = self._members[name]
        with self._archive.open(member) as file:
            return file.read(member.file_size)  # no more, whatever the member unpacks to

    def state(self, name: str) -> tuple[int, ...]:
        """(bytes, CRC-32): the archive itself may be moved or copied."""
        return self._members[name].file_size, self._members[name].CRC

    def has(self, name: str) -> bool:
        """Whether there is a member of this name, image or not."""
        return name in self._members

    def num_bytes(self, name: str) -> int:
        """Size of a member, image or not."""
        return self._members[name].file_size

    def read(self, name: str) -> bytes:
        """Content of a member, image or not."""
        self._check(self._members[name])
        try:
            return self.image(name)
        except Exception as error:  # zipfile answers damage with many types
            raise self._refusal(self._members[name], f'is damaged ({error})') from error
