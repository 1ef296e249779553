"""Researcher: conditional mixup and the embedding loss in a PyTorch loop of one's own.

    python examples/bare_loop.py

Only functions of tensors from `earmark.method`: bring your own network, data and optimiser. Half of
each batch is unlabelled. Prints losses, and how well the teacher knows new clips.
"""

import torch
from torch import Tensor, nn

from earmark.core.config import FrontendSettings
from earmark.features.frontend import LogMel
from earmark.method import losses, mixup, teacher
from earmark.method.networks import FrameHead
from earmark.method.settings import MixupSettings

B, T, HOP = 16, 32, 1024  # clips of two seconds at 16 kHz
generator = torch.Generator().manual_seed(0)
torch.manual_seed(0)


def clips(count: int) -> tuple[Tensor, Tensor]:
    """Waveforms [B, S] of three tones that come and go in noise, and when they do: [B, T, 3]."""
    active = torch.rand(count, T // 8, 3, generator=generator) < 0.3
    active = active.float().repeat_interleave(8, dim=1)
    time = torch.arange(T * HOP) / 16_000
    tones = torch.stack([(2 * torch.pi * hertz * time).sin() for hertz in (400, 1100, 2900)], 1)
    mixed = (active.repeat_interleave(HOP, dim=1) * tones).sum(dim=2)
    return 0.1 * mixed + 0.02 * torch.randn(mixed.shape, generator=generator), active


class Network(nn.Module):
    """Waveforms [B, S] → probabilities [B, T, 3], projections z and predictions u [B, T, 32]."""

    def __init__(self) -> None:
        super().__init__()
        self.mel = LogMel(FrontendSettings(hop=HOP))
        self.body = nn.GRU(128, 32, batch_first=True, bidirectional=True)
        self.classes, self.project = nn.Linear(64, 3), FrameHead(64, 64, 32)
        self.predict = FrameHead(32, 64, 32)

    def forward(self, waveforms: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A column of the log-mel is a frame; the last one, at the very end, is left out."""
        hidden, _ = self.body(self.mel(waveforms)[:, :, :T].transpose(1, 2))  # [B, T, 64]
        z = self.project(hidden, valid)
        return self.classes(hidden).sigmoid(), z, self.predict(z, valid)


student = Network()
follower = teacher.make_teacher(student)
optimizer = torch.optim.Adam(student.parameters(), lr=4e-3)
kinds = torch.arange(B) // (B // 2)  # labelled, unlabelled: partners stay within a kind
labelled, valid = kinds == 0, torch.ones(B, T, dtype=torch.bool)  # no padding here
for step in range(1, 121):
    x, y = clips(B)
    mix = mixup.draw_mix(kinds, MixupSettings(), generator)
    with torch.no_grad():
        q, z, _ = follower(x, valid)  # of clean clips
    p, _, u = student(mixup.mix_inputs(x, mix), valid)
    targets = mixup.mix_targets(y, mix)[labelled]  # no more is told of y
    supervised = losses.strong_bce(p[labelled], targets, valid[labelled])
    consistency = losses.strong_consistency(p, mixup.mix_targets(q, mix), valid, valid[:, 0])
    own = torch.where(mix.composed, mix.coefficient, 1.0)  # all of a perturbation's target
    target = losses.compose_embeddings(z, mix.partner, own[:, None].expand(B, T))
    embedding = losses.embedding_loss(u, target, valid)
    loss = supervised + teacher.ramp(step, 60) * (2 * consistency + 0.3 * embedding)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    teacher.update_teacher(follower, student, teacher.ema_decay(step, 0.99, horizon=0.2))
    if step % 30 == 0:
        print(f"{step}: BCE {supervised:.3f}, consistency {consistency:.3f}, {embedding=:.3f}")
print("watched for collapse:", losses.collapse_figures(u, valid))
x, y = clips(64)
found = follower(x, torch.ones(64, T, dtype=torch.bool))[0] > 0.5
right = (found == (y > 0.5)).float().mean()
print(f"the teacher is right in {right:.1%} of new frames; guessing silence, in {1 - y.mean():.1%}")
