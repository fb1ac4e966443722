"""The measures and tools of benchmarks/ that results pages rest on."""

import argparse
import json
import re
import sys

import jax
import numpy as np
import pytest

from benchmarks import (
    against_peers,
    class_diversity,
    cluster_folder,
    command,
    communication,
    conv,
    data_feed,
    glo_reconstruction,
    machine,
    memory,
    spectra,
    train_step,
    workloads,
)
from snjax import parallel
from snjax.parallel import cost


def test_mean_distance_by_hand():
    images = np.zeros((3, 2, 2, 1))
    images[1] = 1  # root mean square 1 from the first
    images[2, 0, 0] = 2  # 1 from the first, sqrt((1 + 3) / 4) = 1 from the second
    assert class_diversity.mean_distance(images) == pytest.approx(1)
    images[2] = 3
    assert class_diversity.mean_distance(images) == pytest.approx((1 + 3 + 2) / 3)
    assert class_diversity.mean_distance(np.ones((5, 2, 2, 3))) == 0
    assert np.isnan(class_diversity.mean_distance(images[:1]))


def test_recall_sees_a_collapse_that_the_mean_distance_does_not():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(40, 2, 2, 1))
    collapsed = np.repeat([real[0], real[1] + 4], 20, axis=0) + 1e-3 * rng.normal(size=real.shape)
    assert class_diversity.mean_distance(collapsed) > class_diversity.mean_distance(real)
    assert class_diversity.recall(real, collapsed) <= 1 / 40
    assert class_diversity.recall(real, rng.normal(size=real.shape)) > 0.5
    assert np.isnan(class_diversity.recall(real[:3], real))


def test_clusters_are_near_their_centre_and_bounded():
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0], [10, 0], [0, 10], [10, 10]])
    points = np.repeat(centres, 30, 0) + rng.normal(size=(120, 2)) * 0.1
    groups = cluster_folder.clusters(points, num_classes=4, fewest=3, most=20)
    assert len(groups) == 4 and max(map(len, groups)) <= 20
    for group in groups:
        assert np.ptp(points[group], axis=0).max() < 1  # one blob, or a part of one
    assert len(set(np.concatenate(groups))) == sum(map(len, groups))
    with pytest.raises(ValueError, match='--num_classes'):
        cluster_folder.clusters(points, num_classes=3, fewest=100, most=200)


def test_gradient_energy_is_of_neighbours():
    ramp = np.tile(
        np.arange(4.0)[None, None, :, None], (2, 3, 1, 1)
    )  # 1 a pixel along the width alone
    assert glo_reconstruction.gradient_energy(ramp) == pytest.approx(0.5)
    assert glo_reconstruction.gradient_energy(np.ones((2, 3, 3, 1))) == 0


def test_losses_are_averaged_over_epochs():
    logged = [(0.5, 4.0), (1.0, 2.0), (1.5, 1.0), (2.0, 3.0), (2.5, 0.0)]
    lines = [{'train/epoch': e, 'train/rec_loss': loss} for e, loss in logged] + [{'eval/x': 1}]
    assert glo_reconstruction.epoch_losses(lines).tolist() == [3.0, 2.0, 0.0]


# ---- command lines


@pytest.mark.parametrize(
    ('module', 'arguments', 'message'),
    [
        (train_step, '--config=sngan_digits --config=sngan_cifr', "'sngan_cifr'.*sngan_cifar"),
        (train_step, '--config=sngan_digits:C', "takes no argument, but 'C'"),
        (train_step, '--config=sngan_cifar_cnn:Z', 'accepted are SETTING'),
        (train_step, '--config=sngan_digits --set=n_dis', "'n_dis' is no KEY=VALUE"),
        (train_step, '--config=sngan_digits --set=model.n_dis=1', "no key 'model.n_dis'"),
        (train_step, '--config=sngan_digits --set=n_dis=x', "n_dis is 'x'.*int"),
        (train_step, '--config=sngan_digits --set=n_dis=1.5', "n_dis is '1.5'.*int"),
        (train_step, '--config=sngan_digits --rounds=0', '--rounds: 0: at least 1'),
        (train_step, '--config=sngan_digits --out=/dev/null/x', '/dev/null/x cannot be written'),
        (machine, '/dev/null/x', '/dev/null/x cannot be written'),
        (memory, '--config=sngan_digits --dtypes=float16', "'float16'.*float32, bfloat16"),
        (conv, '--layers=down,pool', "'pool' is unknown: accepted are thin, conv, down"),
        (data_feed, '--images=/dev/null', 'no image in /dev/null'),
        (against_peers, '--workloads=cnn', "'cnn' is unknown: accepted are sngan_resnet"),
        (against_peers, '--forms=eager;quick', "'quick'.*eager; channels last"),
        (against_peers, '--ours=model.dtype', "--ours: 'model.dtype' is no KEY=VALUE"),
        (against_peers, '--mimicry=/dev/null', '--mimicry=/dev/null'),
        (against_peers, '--python=/dev/null/python', '/dev/null/python'),
    ],
)
def test_bad_arguments_are_one_line_before_anything_runs(
    module, arguments, message, monkeypatch, capsys
):
    monkeypatch.setattr(sys, 'argv', [module.__name__, *arguments.split()])
    with pytest.raises(SystemExit) as end:
        command.run(module.main)
    assert end.value.code == 2
    found = capsys.readouterr()
    assert not found.out
    *usage, line = found.err.splitlines()
    assert re.search(message, line)
    assert not usage or usage[0].startswith('usage: ')  # argparse's


def test_looking_whether_a_report_can_be_written_leaves_nothing(tmp_path):
    there, new = tmp_path / 'there.json', tmp_path / 'folder' / 'new.json'
    there.write_text('{}')
    assert (command.report(str(there)), command.report(str(new))) == (there, new)
    assert there.read_text() == '{}'
    assert not list(new.parent.iterdir())


def test_only_missing_pytorch_is_bad_input(capsys):
    def of(name):
        raise ModuleNotFoundError(f'No module named {name!r}', name=name)

    with pytest.raises(SystemExit):
        command.run(lambda: of('torch'))
    assert 'pip install torch' in capsys.readouterr().err
    with pytest.raises(ModuleNotFoundError):
        command.run(lambda: of('snjax.nothing'))


@pytest.mark.slow
def test_a_side_that_cannot_run_is_named_and_left_out():
    tiny = {'model.gen_width': 4, 'model.dis_width': 4, 'batch_size': 4, 'gen_batch_size': 4}
    job = {'side': 'ours', 'workload': 'standard_cnn', 'changes': tiny | {'n_dis': 1}}
    args = argparse.Namespace(python=sys.executable, rounds=2, updates=1)
    jobs = {'snjax': job, 'other': {'side': 'of nobody'}}
    rounds = list(against_peers.compare(jobs, args))
    assert [found['failed'] for found in rounds] == [['other']] * 2
    assert list(rounds[-1]['sides']) == ['snjax'] and rounds[-1]['over_snjax'] == {}
    assert len(rounds[-1]['sides']['snjax']['seconds_per_update']) == 2
    with pytest.raises(RuntimeError, match='snjax ended with exit code 1'):
        list(against_peers.compare({'snjax': jobs['other']}, args))


# ---- training steps


def test_a_config_by_name_with_changes_as_text():
    changes = {'n_dis': '1', 'model.dtype': 'bfloat16', 'optimizer.lr': 0.5, 'model.remat': 'True'}
    config = workloads.load_config('configs/sngan_cifar_cnn.py:A', changes)
    assert (config.n_dis, config.optimizer.lr, config.optimizer.beta1) == (1, 0.5, 0.5)
    assert (config.model.dtype, config.model.remat) == ('bfloat16', True)
    with pytest.raises(AttributeError):
        config.no_such_key = 1  # as locked as launch.py has it


@pytest.mark.slow
def test_operations_as_published_and_as_they_run():
    """2.83 TFLOP an update of the CIFAR ResNet, by hand: 5 updates of D on 64 + 64 images, one of G
    on 64.
    """
    found = workloads.WORKLOADS['sngan_resnet']
    config = workloads.load_config(found.config, found.changes)
    step = workloads.Step(config, num_images=100, counted_only=True)
    executed = cost.flops(step.jaxpr())
    with train_step.published_forms():
        published = cost.flops_by_layer(
            workloads.Step(config, num_images=100, counted_only=True).jaxpr()
        )
    # 3x3, 256 to 256 channels at 32 px: 64 images forward for each D, and three times that for G.
    layer = 2 * 64 * 32**2 * 9 * 256**2 * (5 + 3)
    assert published['ResNetGenerator/block3/conv2'] == layer
    # Forward, input and kernel for 128 images in each D update; forward and input for G's 64.
    layer = 2 * 32**2 * 9 * 128**2 * (5 * 3 * 128 + 2 * 64)
    # And a little for its norm.
    assert published['ResNetDiscriminator/block1/conv2'] == pytest.approx(layer, rel=1e-4)
    assert sum(published.values()) == pytest.approx(2.832e12, rel=1e-3)
    assert executed == pytest.approx(1.929e12, rel=1e-3)


@pytest.mark.parametrize(('kind', 'form'), [(k, f) for k in conv.FORMS for f in conv.FORMS[k]])
def test_every_form_of_a_convolution_has_the_same_values(kind, form):
    layer = next(layer for layer in conv.LAYERS if layer.kind == kind)
    for before, after in ((3, 8), (8, 3)):
        x = jax.random.normal(jax.random.key(0), (2, 6, 8, before))
        kernel = jax.random.normal(jax.random.key(1), (layer.kernel,) * 2 + (before, after))
        expected = conv.FORMS[kind]['plain'](x, kernel)
        np.testing.assert_allclose(conv.FORMS[kind][form](x, kernel), expected, rtol=0, atol=1e-4)


@pytest.mark.slow
def test_transposed_convolutions_are_published_without_the_windows_that_phases_add():
    tiny = {'model.gen_width': 4, 'model.dis_width': 4, 'batch_size': 4, 'gen_batch_size': 4}
    config = workloads.load_config('sngan_cifar_cnn:C', tiny | {'n_dis': 1})
    executed = cost.flops_by_layer(workloads.Step(config, num_images=10, counted_only=True).jaxpr())
    with train_step.published_forms():
        published = cost.flops_by_layer(
            workloads.Step(config, num_images=10, counted_only=True).jaxpr()
        )
    # 4x4, 16 to 8 channels on 8 px: 4 images forward for D, and three times that for G.
    layer = 2 * 4 * 8**2 * 16 * 16 * 8 * (1 + 3)
    assert published['SNGANCNNGenerator/deconv2'] == layer
    if jax.default_backend() == 'cpu':
        assert executed['SNGANCNNGenerator/deconv2'] > layer
    again = cost.flops_by_layer(workloads.Step(config, num_images=10, counted_only=True).jaxpr())
    assert again == executed  # it ends with the block


@pytest.mark.slow
def test_published_forms_take_bfloat16_as_well():
    changes = {'model.dtype': 'bfloat16', 'model.gen_width': 8, 'model.dis_width': 8}
    config = workloads.load_config('sngan_cifar', changes)
    with train_step.published_forms():
        assert cost.flops(workloads.Step(config, num_images=100, counted_only=True).jaxpr()) > 0


def test_starts_of_calls_are_noted_of_a_program_that_was_compiled_before():
    def run(state, data):
        return {'w': state['w'] @ data['x']}, {'sum': state['w'].sum()}

    state, data = parallel.replicate(({'w': np.eye(4)}, {'x': np.eye(4)}))
    step = parallel.DataParallel(run)
    program = step.compile(state, data)
    with data_feed.Dispatches() as dispatches:
        state, _ = program(state, data)
        assert step.compile(state, data).temporary_bytes is not None  # what a run asks for
        state, _ = program(state, data)
    program(state, data)
    assert len(dispatches.seconds) == 2 and min(dispatches.seconds) > 0


def test_all_reduces_by_hand():
    """8 bytes over a ring in a node; then what each of its devices has of the sum, over the nodes."""
    network = communication.Network(1e12, 4, 100.0, 10.0, 0.5, 2.0)
    assert network.seconds(8, 3, 1) == 0
    assert network.seconds(8, 3, 2) == pytest.approx(2 * 1 / 2 * 8 / 100 + 3 * 0.5)
    inside, between = 2 * 3 / 4 * 8 / 100, 2 * 2 / 3 * (8 / 4) / 10
    assert network.seconds(8, 3, 12) == pytest.approx(inside + between + 3 * 2.0)


@pytest.mark.slow
def test_a_step_exchanges_its_gradients_once_an_update():
    """Two updates of D and one of G, and little else."""
    small = {'batch_size': 8, 'gen_batch_size': 8}  # shared by 1, 2, 4 and 8 devices
    config = workloads.load_config('sngan_digits', small | {'steps_per_call': 1, 'n_dis': 2})
    counted = communication.count(config)
    step = workloads.Step(config, counted_only=True)
    gen, dis = (cost.bytes_of(player.params) for player in (step.state.gen, step.state.dis))
    assert counted['bytes']['gradients'] == {'of_dis': 2 * dis, 'of_gen': gen}
    assert 0 < counted['bytes']['statistics_and_metrics'] < 0.01 * gen
    # Two of D after each other; G waits for three batch norms, forth and back, and gives its
    # gradients.
    assert counted['all_reduces']['at_best'] >= 2 + 3 + 3 + 1
    assert counted['all_reduces']['at_best'] < counted['all_reduces']['as_written'] < 120
    flops = counted['flops_of_a_device']
    assert flops[1] > flops[8] > flops[1] / 8  # power iterations are done by all


def test_speed_up_is_that_of_the_formula():
    counted = {
        'bytes': {'total': 100},
        'all_reduces': {'at_best': 2},
        'flops_of_a_device': {1: 80.0, 2: 40.0},
    }
    network = communication.Network(10.0, 2, 50.0, 1.0, 0.5, 1.0)
    found = communication.predict(counted, network, utilisation=0.8)['at_best']
    assert found['strong_s'] == pytest.approx({1: 10, 2: 5 + 2 + 1})
    assert found['strong_efficiency'][2] == pytest.approx(10 / 8 / 2)
    assert found['weak_efficiency'][2] == pytest.approx(10 / 13)


def test_spectra_of_runs_make_a_figure_and_ranks(tmp_path, capsys, monkeypatch):
    full, thin = [2.0, 2.0, 2.0, 2.0], [1.0, 0.01, 0.01, 0.01]
    assert spectra.ranks(full) == {'stable_rank': 4, 'share_holding_99_percent': 1, 'values': 4}
    assert spectra.ranks(thin) == {'stable_rank': 1, 'share_holding_99_percent': 0.25, 'values': 4}
    for name, spectrum in (('sngan,seed=0', full), ('clipping,seed=0', thin)):
        (tmp_path / name / 'diagnosis').mkdir(parents=True)
        for step, values in ((90, [1.0, 0.5]), (100, spectrum)):
            record = {'layers': {'conv': {'spectrum': values}, 'bias': {'spectrum': [1.0]}}}
            (tmp_path / name / f'diagnosis/step{step}.json').write_text(json.dumps(record))
    runs = [str(tmp_path / name) for name in ('sngan,seed=0', 'clipping,seed=0')]
    monkeypatch.setattr(sys, 'argv', ['spectra', *runs, f'--figure={tmp_path / "figure"}'])
    spectra.main()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line['layers']['conv']['stable_rank'] for line in lines] == [4, 1]
    assert 'sngan' in (tmp_path / 'figure.svg').read_text() and (tmp_path / 'figure.png').exists()
    with pytest.raises(ValueError, match=r'has no diagnosis: launch\.py --mode=diagnose'):
        spectra.diagnosis(tmp_path)
