"""mimicry's own training step (github.com/kwotsin/mimicry), from a checkout of it, unchanged.

The package imports TensorFlow for its scores; only its networks are imported here.
"""

import importlib
import sys
import types

import torch

from benchmarks.peers import mimicry_package

NETWORKS = {
    'sngan': ('sngan.sngan_32', 'SNGANGenerator32', 'SNGANDiscriminator32', (0.0, 0.9)),
    'wgan_gp': ('wgan_gp.wgan_gp_32', 'WGANGPGenerator32', 'WGANGPDiscriminator32', (0.0, 0.9)),
}


class Trainer:
    """The loop of mimicry's `Trainer.train` around one generator update, without its logging."""

    def __init__(self, checkout: str, network: str, batch_size: int, n_dis: int, layout: str):
        root = mimicry_package(checkout)
        for name, folder in (
            ('torch_mimicry', root),
            ('torch_mimicry.training', root / 'training'),
        ):
            package = types.ModuleType(name)
            package.__path__ = [str(folder)]
            sys.modules[name] = package
        module, gen, dis, betas = NETWORKS[network]
        module = importlib.import_module(f'torch_mimicry.nets.{module}')
        self.log = importlib.import_module('torch_mimicry.training.metric_log').MetricLog
        self.device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
        torch.manual_seed(0)
        self.layout = getattr(torch, layout)
        make = (getattr(module, gen)(), getattr(module, dis)())
        self.gen, self.dis = (p.to(self.device).to(memory_format=self.layout) for p in make)
        self.gen_opt = torch.optim.Adam(self.gen.parameters(), 2e-4, betas)
        self.dis_opt = torch.optim.Adam(self.dis.parameters(), 2e-4, betas)
        self.batch_size, self.n_dis = batch_size, n_dis
        self.images = torch.rand(10_000, 3, 32, 32) * 2 - 1

    def step(self) -> None:
        log = self.log()
        for i in range(self.n_dis):
            index = torch.randint(len(self.images), (self.batch_size,))
            images = self.images[index].to(self.device).contiguous(memory_format=self.layout)
            batch = images, None
            log = self.dis.train_step(
                real_batch=batch,
                netG=self.gen,
                optD=self.dis_opt,
                log_data=log,
                device=self.device,
            )
            if i == self.n_dis - 1:  # as in mimicry's trainer
                log = self.gen.train_step(
                    real_batch=batch,
                    netD=self.dis,
                    optG=self.gen_opt,
                    log_data=log,
                    device=self.device,
                )

    def run(self, num_updates: int) -> None:
        for _ in range(num_updates):
            self.step()

    def block(self) -> None:
        if self.device.type == 'cuda':
            torch.cuda.synchronize()
