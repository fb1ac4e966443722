"""`--mode=export` of launch.py on the shared run, and `--mode=convert`: what is refused."""

import hashlib
import re

import numpy as np
import pytest

import snjax
from configs.modes import export as export_options
from experiments.modes.export import run_export
from helpers.launching import CHECKPOINT_EVERY, DIGITS, NUM_STEPS
from snjax.generate import export


def test_a_file_needs_nothing_but_the_workdir(launcher, finished_run, tmp_path):
    workdir = finished_run.copy(tmp_path / 'run')
    outcome = launcher.run('--mode=export', '--workdir=run', cwd=tmp_path)
    assert (outcome.code, outcome.stderr) == (0, '')
    path = workdir / 'exported' / f'gen_step{NUM_STEPS}_ema.safetensors'
    content = path.read_bytes()
    assert outcome.stdout == (
        f'safetensors of step {NUM_STEPS}, weights ema, at run/exported/{path.name} '
        f'({len(content):,} bytes, sha256 {hashlib.sha256(content).hexdigest()})\n'
    )
    np.testing.assert_array_equal(snjax.load(path).sample(2), snjax.load(workdir).sample(2))


def exported(run, **changes):
    options = export_options.get_config()
    options.update(changes)
    run_export(options, run.workdir)


def test_the_name_the_format_the_step_and_the_weights_can_be_chosen(finished_run, tmp_path, capsys):
    step = NUM_STEPS - CHECKPOINT_EVERY
    out = tmp_path / 'new' / 'digits.stablehlo'
    exported(finished_run, format='stablehlo', out=str(out), step=step, weights='raw')
    said = f'stablehlo of step {step}, weights raw, at {out} '
    assert capsys.readouterr().out.startswith(said)
    expected = export.stablehlo(snjax.load(finished_run.workdir, step), 'raw')
    assert out.read_bytes() == expected  # it is a function of the run alone


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'format': 'onxx'}, "export.format is 'onxx': accepted are safetensors, stablehlo, onnx; did"),
        ({'weights': 'avg'}, "export.weights is 'avg': accepted are auto, ema, raw"),
        ({'step': -1}, 'export.step is -1: a whole number from 0'),
        ({'out': 'gen.onnx'}, 'ends in .safetensors, or --export.format=onnx'),
        ({'out': 'gen'}, 'export.out is gen, but export.format is safetensors: use a name'),
    ],
)  # fmt: skip
def test_what_is_not_accepted_is_one_line_before_anything_is_loaded(
    tmp_path, finished_run, changes, message
):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        exported(finished_run, **changes)
    assert '\n' not in str(error.value)


def test_onnx_without_its_packages_is_one_line(finished_run, monkeypatch):
    monkeypatch.setattr(export.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(
        ValueError, match=r'export\.format is onnx: ONNX needs jax2onnx: pip install'
    ):
        exported(finished_run, format='onnx')


@pytest.mark.parametrize(
    ('flags', 'line'),
    [
        ((), '--published is missing: give a netG_..._steps.pth of mimicry, a'),
        (('--published=no.pth',), 'no.pth is not there: give a published generator'),
    ],
)
def test_a_file_to_convert_that_is_not_there_leaves_no_workdir(launcher, tmp_path, flags, line):
    outcome = launcher.run('--mode=convert', DIGITS, '--workdir=run', *flags, cwd=tmp_path)
    assert outcome.code == 2 and outcome.error_line().startswith(f'launch.py: {line}')
    assert not (tmp_path / 'run').exists()
