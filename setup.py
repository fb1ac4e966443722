"""Adds the program to the wheel, as `snjax/_program/`; all else is in pyproject.toml."""

import pathlib
import shutil

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithProgram(build_py):
    """Copies launch.py, experiments/ and configs/ beside the library, which runs them from there
    (`snjax/host/command.py`)."""

    def run(self):
        super().run()
        if self.editable_mode:  # the repository itself is what runs
            return
        program = pathlib.Path(self.build_lib, 'snjax', '_program')
        shutil.rmtree(program, ignore_errors=True)
        for folder in ('configs', 'experiments'):
            shutil.copytree(folder, program / folder, ignore=shutil.ignore_patterns('__pycache__'))
        shutil.copy('launch.py', program)


setup(cmdclass={'build_py': BuildWithProgram})
