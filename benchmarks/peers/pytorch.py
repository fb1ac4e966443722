"""SNGAN's and WGAN-GP's training step in PyTorch, written as well as we can, to compare ours with.

Networks, batches, order of updates and optimizer are those of our configs: 32 px, n_dis
discriminator updates on real and fake images in one pass, then one generator update. Fakes for D
are made without a graph, and D's weights get no gradient while G learns. PyTorch's `spectral_norm`
normalizes, once per pass. Initialization is PyTorch's, which costs the same.

`FORMS` of the package are ways to run it: as written, channels last, compiled, in bfloat16, and
combinations of these.
"""

import contextlib
import dataclasses

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from benchmarks.peers import FORMS

DIM_Z = 128


def _plain(layer: nn.Module) -> nn.Module:
    return layer


class UpBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.conv1, self.conv2 = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.shortcut = nn.Conv2d(width, width, 1)

    def forward(self, x):
        h = functional.interpolate(functional.relu(self.norm1(x)), scale_factor=2)
        h = self.conv2(functional.relu(self.norm2(self.conv1(h))))
        return h + functional.interpolate(self.shortcut(x), scale_factor=2)


class ResNetGenerator(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.width = width
        self.project = nn.Linear(DIM_Z, 16 * width)
        self.blocks = nn.Sequential(*(UpBlock(width) for _ in range(3)))
        self.norm_out = nn.BatchNorm2d(width)
        self.to_image = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, z):
        h = self.blocks(self.project(z).view(-1, self.width, 4, 4))
        return torch.tanh(self.to_image(functional.relu(self.norm_out(h))))


class DownBlock(nn.Module):
    def __init__(self, before, width, norm, down=True, first=False):
        super().__init__()
        self.down, self.first = down, first
        self.conv1 = norm(nn.Conv2d(before, width, 3, padding=1))
        self.conv2 = norm(nn.Conv2d(width, width, 3, padding=1))
        self.shortcut = norm(nn.Conv2d(before, width, 1)) if down else None

    def forward(self, x):
        h = self.conv1(x if self.first else functional.relu(x))
        h = self.conv2(functional.relu(h))
        if not self.down:
            return h + x
        return functional.avg_pool2d(h, 2) + self.shortcut(functional.avg_pool2d(x, 2))


class ResNetDiscriminator(nn.Module):
    def __init__(self, width, norm, mean_pool=False):
        super().__init__()
        self.pool = torch.mean if mean_pool else torch.sum
        self.blocks = nn.Sequential(
            DownBlock(3, width, norm, first=True),
            DownBlock(width, width, norm),
            DownBlock(width, width, norm, down=False),
            DownBlock(width, width, norm, down=False),
        )
        self.score = norm(nn.Linear(width, 1, bias=mean_pool))

    def forward(self, x):
        h = functional.relu(self.blocks(x))
        return self.score(self.pool(h.float(), dim=(2, 3)))[:, 0]


class StandardGenerator(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.project = nn.Linear(DIM_Z, 16 * 8 * width)
        layers = []
        for before, after in ((8, 4), (4, 2), (2, 1)):
            layers += [nn.ConvTranspose2d(before * width, after * width, 4, 2, 1)]
            layers += [nn.BatchNorm2d(after * width), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, 3, 3, padding=1))

    def forward(self, z):
        return torch.tanh(self.layers(self.project(z).view(len(z), -1, 4, 4)))


class StandardDiscriminator(nn.Module):
    def __init__(self, width, norm):
        super().__init__()
        layers, before = [], 3
        for i, multiple in enumerate((1, 1, 2, 2, 4, 4, 8)):
            size, stride = (4, 2) if i % 2 else (3, 1)
            layers += [norm(nn.Conv2d(before, multiple * width, size, stride, 1))]
            layers += [nn.LeakyReLU(0.1, inplace=True)]
            before = multiple * width
        self.layers = nn.Sequential(*layers)
        self.score = norm(nn.Linear(16 * before, 1))

    def forward(self, x):
        return self.score(self.layers(x).float().flatten(1))[:, 0]


@dataclasses.dataclass(frozen=True)
class Work:
    """The networks and losses. `penalty` is WGAN-GP's lambda; 0 is SNGAN with the hinge loss."""

    network: str  # resnet or standard
    gen_width: int
    dis_width: int
    batch_size: int
    gen_batch_size: int
    n_dis: int
    beta1: float
    beta2: float
    penalty: float = 0.0

    def networks(self) -> tuple[nn.Module, nn.Module]:
        norm = _plain if self.penalty else spectral_norm
        if self.network == 'standard':
            return StandardGenerator(self.gen_width), StandardDiscriminator(self.dis_width, norm)
        dis = ResNetDiscriminator(self.dis_width, norm, mean_pool=bool(self.penalty))
        return ResNetGenerator(self.gen_width), dis


class Trainer:
    """Trains on images that lie on the device, uint8 (n, 3, 32, 32)."""

    def __init__(self, work: Work, form: str):
        options = FORMS[form]
        cuda = torch.cuda.is_available()
        self.device = 'cuda' if cuda else 'cpu'
        torch.manual_seed(0)
        # As JAX does for float32 on such a GPU.
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
        self.work = work
        self.layout = torch.channels_last if 'channels_last' in options else torch.contiguous_format
        self.bf16 = 'bf16' in options
        gen, dis = (
            p.to(self.device).to(memory_format=self.layout).train() for p in work.networks()
        )
        make = {'fused': True} if cuda else {'foreach': True}
        betas = (work.beta1, work.beta2)
        self.gen_opt = torch.optim.Adam(gen.parameters(), 2e-4, betas, **make)
        self.dis_opt = torch.optim.Adam(dis.parameters(), 2e-4, betas, **make)
        self.dis_params = list(dis.parameters())
        self.plain_dis = dis  # the penalty differentiates twice, which a compiled module cannot
        if 'compile' in options:
            # D sees two batch sizes, and each needs a program of its own.
            gen, dis = (torch.compile(player, dynamic=False) for player in (gen, dis))
        self.gen, self.dis = gen, dis
        pixels = torch.randint(0, 256, (10_000, 3, 32, 32), dtype=torch.uint8)
        self.pixels = pixels.to(self.device).contiguous(memory_format=self.layout)

    def step(self) -> None:
        """n_dis updates of D and one of G."""
        for _ in range(self.work.n_dis):
            self.update_dis()
        self.update_gen()

    def run(self, num_updates: int) -> None:
        for _ in range(num_updates):
            self.step()

    def block(self) -> None:
        if self.device == 'cuda':
            torch.cuda.synchronize()

    def _autocast(self):
        if not self.bf16:
            return contextlib.nullcontext()
        return torch.autocast(self.device, torch.bfloat16)

    def _real(self):
        index = torch.randint(len(self.pixels), (self.work.batch_size,), device=self.device)
        x = self.pixels[index].float()
        return (x + torch.rand_like(x)) / 128 - 1

    def _fake(self, num):
        return self.gen(torch.randn(num, DIM_Z, device=self.device))

    def update_dis(self) -> None:
        real = self._real()
        with torch.no_grad(), self._autocast():
            fake = self._fake(len(real)).float()
        both = torch.cat([real, fake]).contiguous(memory_format=self.layout)
        with self._autocast():
            out = self.dis(both).float()
        real_out, fake_out = out[: len(real)], out[len(real) :]
        if self.work.penalty:
            loss = fake_out.mean() - real_out.mean()
            loss = loss + self.work.penalty * self._penalty(real, fake)
        else:
            loss = functional.relu(1 - real_out).mean() + functional.relu(1 + fake_out).mean()
        self.dis_opt.zero_grad(set_to_none=True)
        loss.backward()
        self.dis_opt.step()

    def _penalty(self, real, fake):
        alpha = torch.rand(len(real), 1, 1, 1, device=self.device)
        between = (real + alpha * (fake - real)).requires_grad_()
        with self._autocast():
            out = self.plain_dis(between)
        (slope,) = torch.autograd.grad(out.sum(), between, create_graph=True)
        return ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()

    def update_gen(self) -> None:
        for p in self.dis_params:
            p.requires_grad_(False)
        with self._autocast():
            out = self.dis(self._fake(self.work.gen_batch_size))
        self.gen_opt.zero_grad(set_to_none=True)
        (-out.float().mean()).backward()
        self.gen_opt.step()
        for p in self.dis_params:
            p.requires_grad_(True)
