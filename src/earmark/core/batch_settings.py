"""How many clips of each kind make an optimiser step."""

from __future__ import annotations

from collections.abc import Collection

from earmark.core.config import Count, Settings
from earmark.core.errors import ConfigError


class BatchSettings(Settings):
    """Clips of each kind in one optimiser step; a kind the data lack is left out.

    Attributes:
        pseudo: Strongly labelled by a network (`earmark pseudo-label`); where it is 0, they are
            among those of their domain.
    """

    real: Count = 24
    synthetic: Count = 24
    weak: Count = 48
    unlabelled: Count = 48
    pseudo: Count = 0

    def place_of(self, place: str, domain: str) -> str:
        """Where clips of a place go: pseudo-labelled ones to their domain if they have no own."""
        return domain if place == "pseudo" and not self.pseudo else place

    def filled(self, present: Collection[str]) -> BatchSettings:
        """With data of these kinds: absent ones are left out.

        Of ``real`` and ``synthetic``, both strongly labelled, the one that is there fills both.
        """
        take = self.model_dump()
        for absent, other in (("real", "synthetic"), ("synthetic", "real")):
            if absent not in present and other in present:
                take[other] += take[absent]
        return BatchSettings(**{name: take[name] if name in present else 0 for name in take})

    def of_size(self, clips: int) -> BatchSettings:
        """A batch of so many clips in these proportions; of each kind there is at least one still.

        Raises:
            ConfigError: There are fewer clips than kinds.
        """
        own = {name: count for name, count in self.model_dump().items() if count}
        if clips < len(own):
            raise ConfigError(
                f"a batch of {clips} clips has none for some of {', '.join(own)}",
                hint=f"Give {len(own)} or more, or leave a kind out with --set train.batch.KIND=0",
            )
        exact = {name: clips * count / sum(own.values()) for name, count in own.items()}
        sizes = {name: max(1, int(size)) for name, size in exact.items()}
        while sum(sizes.values()) != clips:
            step = 1 if sum(sizes.values()) < clips else -1
            free = [name for name in sizes if step > 0 or sizes[name] > 1]
            sizes[max(free, key=lambda name: step * (exact[name] - sizes[name]))] += step
        return BatchSettings(**dict.fromkeys(self.model_dump(), 0) | sizes)
