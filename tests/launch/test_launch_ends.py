"""How launch.py ends from outside: signals at any moment, output that is gone, a workdir that is."""

import os
import signal
import subprocess
import sys

import pytest

from experiments.modes import ends
from experiments.modes.ends import Outlet
from helpers.launching import CHECKPOINT_EVERY, NUM_STEPS, ROOT, TINY, checkpoints, printed, wait
from helpers.waiting import wait_until


def test_help_is_no_error_and_may_be_cut_short():
    done = subprocess.run(
        f'"$0" {ROOT}/launch.py --help | head -n 1; exit ${{PIPESTATUS[0]}}',
        executable='bash',
        shell=True,
        capture_output=True,
        env={**os.environ, 'BASH_ARGV0': sys.executable},
    )
    assert (done.returncode, done.stderr) == (0, b'')
    assert done.stdout.startswith(b'Trains, samples')


def test_a_signal_while_a_finished_run_is_scored_is_one_line(launcher, finished_run, tmp_path):
    workdir = finished_run.copy(tmp_path / 'run')
    (workdir / 'scores.json').unlink()
    process = launcher.start(*TINY, f'--workdir={workdir}')
    assert wait_until(lambda: 'trained to step' in printed(process), process)
    process.send_signal(signal.SIGHUP)
    outcome = wait(process, 20)
    assert (outcome.code, outcome.error_line()) == (
        75,
        f'launch.py: stopped by SIGHUP; the newest checkpoint is of step {NUM_STEPS} in {workdir}; '
        'start it again to go on',
    )


def test_a_removed_workdir_and_a_lost_output_are_a_line_each(launcher, tmp_path):
    workdir = tmp_path / 'run'
    flags, err = (*TINY, f'--workdir={workdir}'), tmp_path / 'err'
    err.touch()
    launcher.cache.mkdir(parents=True, exist_ok=True)
    process = launcher.preloaded.start(flags, None, '/dev/full', str(err))
    assert wait_until(lambda: CHECKPOINT_EVERY in checkpoints(workdir), process)
    workdir.rename(tmp_path / 'moved')
    assert process.wait(60) == 2
    lines = err.read_text().splitlines()
    first, last = [line for line in lines if not line.startswith('step ')]
    assert first.startswith(
        'launch.py: stdout cannot be written any more (No space left on device)'
    )
    # The move falls between two writes or into a save, whose line begins with what was not saved.
    assert last.startswith('launch.py: ')
    assert f'{workdir} is gone: it was removed or moved while the run wrote there' in last


LAST_MOMENT = """
import os, sys
from experiments.modes import ends

class Last:
    def __del__(self, kill=os.kill, of=(os.getpid(), int(sys.argv[1]))):
        kill(*of)

ends.prepare()
last = Last()
sys.exit(int(sys.argv[2]))
"""


@pytest.mark.parametrize('number', ends.STOPS)
@pytest.mark.parametrize('code', [0, 3])
def test_a_signal_while_python_ends_does_not_become_the_exit_code(number, code):
    command = [sys.executable, '-c', LAST_MOMENT, str(int(number)), str(code)]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (outcome.returncode, outcome.stderr) == (code, '')


def test_after_a_failed_write_the_rest_goes_nowhere(capsys):
    read, written = os.pipe()
    os.close(read)
    outlet = Outlet(os.fdopen(written, 'w'), 'stdout')
    assert outlet.write('lost\n') == 5
    outlet.flush()
    assert 'stdout cannot be written any more (Broken pipe)' in capsys.readouterr().err
    os.write(written, b'as C++ does')
    outlet.stream.close()


def test_letters_that_the_locale_lacks_are_escaped(tmp_path):
    with open(tmp_path / 'out', 'w', encoding='ascii') as file:
        Outlet(file, 'stdout').write('café')
    assert (tmp_path / 'out').read_text() == 'caf\\xe9'
