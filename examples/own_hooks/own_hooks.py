"""A loss, an augmentation and a post-processing of one's own, as pure functions.

After `pip install examples/own_hooks` a recipe may name them: `method.losses: [focal]`,
`method.augmentations: [{name: band-gain, domain: mel}]`, `train.postprocess: two-thresholds`.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import label
from torch import Tensor


def focal(scores: Tensor, targets: Tensor, counted: Tensor, gamma: float = 2.0) -> Tensor:
    """Focal loss (Lin et al., arXiv 1708.02002): what is nearly right counts little.

    Scores and targets [B, T, C] → a loss for each element; `counted` is not needed for that.
    """
    near = torch.where(targets > 0.5, scores, 1.0 - scores).clamp(1e-6, 1.0)
    return -((1.0 - near) ** gamma) * near.log()


def band_gain(mel: Tensor, generator: torch.Generator, bands: int = 4, most: float = 0.2) -> Tensor:
    """Log-mels [B, F, L] → the same, each of some bands louder or softer (as FilterAugment)."""
    gains = torch.empty(len(mel), bands).uniform_(-most, most, generator=generator)
    of_row = torch.arange(mel.shape[1]) * bands // mel.shape[1]
    return mel + gains[:, of_row, None].to(mel.device, mel.dtype)


def two_thresholds(
    scores: NDArray[np.floating],
    boundaries: NDArray[np.float64],
    labels: tuple[str, ...],
    low: float = 0.2,
    high: float = 0.6,
) -> NDArray[np.floating]:
    """Scores [T, C] → at least `high` where a run of frames above `low` reaches it, 0 elsewhere."""
    result = np.zeros_like(scores)
    for column in range(len(labels)):
        runs, count = label(scores[:, column] > low)
        for run in range(1, count + 1):
            inside = runs == run
            if scores[inside, column].max() >= high:
                result[inside, column] = np.maximum(scores[inside, column], high)
    return result
