"""Bytes that a step exchanges between devices, and their cost on paper: no device is needed.

    python -m benchmarks.communication --out=docs/results/performance/communication.json

Counted from the program of one device: bytes and number of all-reduces of one generator update with
its `n_dis` discriminator updates, and operations, at 1 to 64 devices. Work that does not shrink
with a device's share of the batch (power iterations) is therefore included.

Assumed: a device reaches `--utilisation` of its data sheet's dense bfloat16 peak whatever its share
of the batch, which flatters many devices with few images each; an all-reduce is a ring (2 (n-1)/n
of the bytes over the bandwidth) plus a latency; exchange and computation do not overlap. Gradients
and statistics are float32.

`at_best` pays the latency once for all arrays that do not wait for each other's results,
`as_written` once for every array. XLA lies between: it combines neighbouring all-reduces.
"""

import argparse
import dataclasses

import jax
import numpy as np

from benchmarks import command, machine
from benchmarks.workloads import load_config
from experiments import build
from snjax import from_config, parallel
from snjax.latents.sampling import seed_key
from snjax.parallel import cost
from snjax.training.step import device_data, make_step

CONFIGS = ('sngan_cifar', 'sngan_cifar_cnn:C', 'wgan_gp_cifar', 'sngan_imagenet')
DEVICES = (1, 2, 4, 8, 16, 32, 64)


@dataclasses.dataclass(frozen=True)
class Network:
    """Devices and the links between them.

    Attributes:
        peak: operations per second of a device, bfloat16, dense, from the vendor's data sheet like
            the bandwidths.
        per_node: devices in a node.
        inside: bytes per second that a device can send inside its node while it receives as many.
        between: the same to another node, when all devices of the node send; 0 if there is only one
            kind of link.
        latency_inside, latency_between: seconds of an all-reduce of a few bytes; assumed.
    """

    peak: float
    per_node: int
    inside: float
    between: float
    latency_inside: float
    latency_between: float

    def seconds(self, num_bytes: float, num_calls: int, n: int) -> float:
        """Seconds of all-reduces over `n` devices: inside each node, then between the nodes."""
        if n == 1:
            return 0.0
        near = min(n, self.per_node)
        seconds = _ring(num_bytes, near) / self.inside
        latency = self.latency_inside
        if n > self.per_node:
            seconds += _ring(num_bytes / near, n // near) / self.between
            latency = self.latency_between
        return seconds + num_calls * latency


def _ring(num_bytes, n):
    """Bytes that each of `n` devices sends in a ring."""
    return 2 * (n - 1) / n * num_bytes


NETWORKS = {
    # 989 TFLOP/s; NVLink 900 GB/s, both directions together; a 400 Gb/s adapter per GPU (DGX H100).
    'H100, InfiniBand': Network(989e12, 8, 450e9, 50e9, 10e-6, 30e-6),
    # The same nodes with one 100 Gb/s adapter each.
    'H100, Ethernet': Network(989e12, 8, 450e9, 100e9 / 8 / 8, 10e-6, 60e-6),
    # 197 TFLOP/s; all-reduce bandwidth of a pod of 256 chips 51.2 TB/s.
    'TPU v5e': Network(197e12, 256, 51.2e12 / 256, 0.0, 10e-6, 0.0),
}


def _share(text):
    share = float(text)
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f'{text}: more than 0 and at most 1 is accepted')
    return share


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--config', action='append', help='may be given more than once')
    parser.add_argument('--utilisation', type=_share, default=0.3, help='0 to 1')
    parser.add_argument('--out', type=command.report)
    args = parser.parse_args()
    networks = {name: dataclasses.asdict(network) for name, network in NETWORKS.items()}
    report = {
        **machine.describe(),
        'on_paper': True,
        'utilisation': args.utilisation,
        'networks': networks,
        'configs': {},
    }
    for name in args.config or CONFIGS:
        counted = count(load_config(name, {'steps_per_call': 1}))
        times = {n: predict(counted, net, args.utilisation) for n, net in NETWORKS.items()}
        report['configs'][name] = {**counted, 'predicted': times}
    machine.write(report, args.out)


def count(config):
    """Bytes, all-reduces and operations of one generator update."""
    step, state, data = _step(config)
    divisors = [n for n in DEVICES if config.batch_size % n == 0]
    programs = {n: step.trace(state, data, num_devices=n) for n in divisors}
    found = cost.exchanges(programs[divisors[-1]])
    gen, dis = (cost.bytes_of(player.params) for player in (state.gen, state.dis))
    total = sum(e.num_bytes for e in found)
    gradients = {'of_dis': dis * config.n_dis, 'of_gen': gen}
    return {
        'batch_size': config.batch_size,
        'n_dis': config.n_dis,
        'bytes': {
            'total': total,
            'gradients': gradients,
            'statistics_and_metrics': total - sum(gradients.values()),
        },
        'all_reduces': {
            'at_best': 1 + max(e.turn for e in found),
            'as_written': len(found),
        },
        'flops_of_a_device': {n: cost.flops(program) for n, program in programs.items()},
    }


def predict(counted, network, utilisation):
    """Seconds and efficiency: `strong` divides the batch, `weak` gives every device a whole one."""
    flops, calls = counted['flops_of_a_device'], counted['all_reduces']
    speed = utilisation * network.peak
    found = {}
    for form, num_calls in calls.items():
        exchange = {n: network.seconds(counted['bytes']['total'], num_calls, n) for n in DEVICES}
        alone = flops[1] / speed
        strong = {n: flops[n] / speed + exchange[n] for n in flops}
        found[form] = {
            'exchange_s': exchange,
            'strong_s': strong,
            'strong_speedup': {n: alone / s for n, s in strong.items()},
            'strong_efficiency': {n: alone / s / n for n, s in strong.items()},
            'weak_efficiency': {n: alone / (alone + exchange[n]) for n in DEVICES},
        }
    return found


def _step(config):
    """The training step, with shapes for the state and a set of one batch."""
    like = from_config.images_shape(config, config.batch_size)
    pixels = np.zeros(like.shape, like.dtype)
    method = build.method(config).with_images(pixels)
    data = device_data(pixels, np.zeros(len(pixels), np.int32), 0)
    state = jax.eval_shape(method.init, seed_key(0, 'init'))
    options = build.options(config)
    return parallel.DataParallel(make_step(method, options)), state, data


if __name__ == '__main__':
    command.run(main)
