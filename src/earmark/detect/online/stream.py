"""Events of audio that is still coming: each once, with final times, as in the whole recording."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from earmark.core.audio.resampling import Resampler, to_mono
from earmark.core.audio.samples import as_samples
from earmark.core.errors import ConfigError
from earmark.core.event import Event
from earmark.core.files import write_whole
from earmark.core.files.bounds import parse_json, read_arrays
from earmark.core.spec import spec_of
from earmark.core.timeline import FrameGrid, samples_to_seconds
from earmark.detect.online.csebb import BoxFinder
from earmark.detect.online.median import MedianFinder
from earmark.detect.postprocess_spec import PostProcess
from earmark.detect.sliding import SlidingScorer

if TYPE_CHECKING:
    from earmark.detect.network import Network

FORMAT = 2
"""Of saved states; those of format 1 did not name their bundle."""


class EventStream:
    """Turns audio that arrives in blocks into events, each as soon as it is final.

    What comes out, all together, is what `Detector.detect` finds in the whole recording with the
    same settings, whatever the blocks. Networks that compute a window alone and among others
    differently in the last bits give scores that differ as little.

    Args:
        network: What scores windows.
        postprocess: How scores become events.
        sample_rate: Of the audio that comes.
        channel: Of blocks [s, channels]; the mean when None.
        hop_seconds: Time between window starts.
        weighting: Of a window's frames.
        lookahead_seconds: How much later sound a score may depend on; a window when None.
        fingerprint: What identifies the network's bundle; saved states are bound to it.

    Raises:
        ConfigError: If a setting is not usable.
    """

    def __init__(
        self,
        network: Network,
        postprocess: PostProcess,
        sample_rate: int,
        *,
        channel: int | None = None,
        hop_seconds: float | None = None,
        weighting: str = "hann",
        lookahead_seconds: float | None = None,
        fingerprint: str | None = None,
    ) -> None:
        if sample_rate < 1:
            raise ConfigError(f"a stream of {sample_rate} samples per second")
        spec = spec_of(network)
        self.sample_rate, self.channel = sample_rate, channel
        self._rate = spec.sample_rate
        self._resampler = Resampler(sample_rate, spec.sample_rate)
        self._scorer = SlidingScorer(
            network,
            hop_seconds=hop_seconds,
            batch_size=1,
            weighting=weighting,
            lookahead_seconds=lookahead_seconds,
        )
        self._grid: FrameGrid = self._scorer.plan.grid
        kind = BoxFinder if postprocess.method == "csebb" else MedianFinder
        self._finder: BoxFinder | MedianFinder = kind(self._grid, spec.labels, postprocess)
        self._settings = [
            *(FORMAT, sample_rate, list(spec.labels), postprocess.to_dict(), weighting),
            *(channel, self._scorer.plan.hop_frames, self._scorer.plan.tail_frames),
            fingerprint,
        ]

    @property
    def seconds(self) -> float:
        """Audio received so far."""
        return samples_to_seconds(self._resampler.received, self.sample_rate)

    @property
    def lookahead(self) -> float:
        """Seconds of later sound that a score may depend on."""
        return self.window_lookahead + samples_to_seconds(self._scorer.context, self._rate)

    @property
    def window_lookahead(self) -> float:
        """Of the look-ahead, what is within a window."""
        return self._scorer.plan.tail_frames * self._grid.seconds

    @property
    def latency(self) -> float:
        """Seconds after an event's end by which it is given; infinite with cSEBB.

        The look-ahead and one frame, half the longest median filter, the longest gap that is
        closed, and a tenth of a second for the resampling of other rates.
        """
        own = self.lookahead + self._grid.seconds
        other = 0.0 if self.sample_rate == self._rate else RESAMPLING
        return float(own + other + self._finder.delay)

    def push(self, block: NDArray[Any]) -> list[Event]:
        """Takes the next samples.

        Args:
            block: [s] or [s, channels], any number of them, floats of full scale 1 or whole
                numbers of their type's scale.

        Returns:
            Events that became final.

        Raises:
            AudioError: If the block is no audio, or the stream has ended.
        """
        samples = as_samples(block, "a block", whole=False)
        if len(samples) == 0:
            return []
        mono = to_mono(samples, "the stream", self.channel)
        return self._finder.push(self._scorer.push(self._resampler.push(mono)))

    def finish(self) -> list[Event]:
        """Ends the stream; gives the events that are left, those under way included.

        They end with the audio. A stream without any audio has no events.
        """
        if self._resampler.received == 0:
            return []
        scores = [self._scorer.push(self._resampler.finish()), self._scorer.finish()]
        duration = samples_to_seconds(self._scorer.samples, self._rate)
        return self._finder.finish(np.concatenate(scores), duration)

    def save(self, path: str | Path) -> None:
        """Saves where the stream is; no audio but that of the last window is in the file.

        Raises:
            AudioError: If the stream has ended.
        """
        arrays: dict[str, NDArray[Any]] = {}
        state = {
            "settings": self._settings,
            "resampler": self._resampler.state(),
            "scorer": self._scorer.state(),
            "finder": self._finder.state(),
        }
        text = json.dumps(_without_arrays(state, arrays))
        content = io.BytesIO()
        np.savez(content, state=np.array(text), **arrays)  # type: ignore[arg-type]
        write_whole(path, lambda draft: draft.write_bytes(content.getvalue()))

    def load(self, path: str | Path) -> None:
        """Goes on where a stream with the same settings was saved.

        Raises:
            ConfigError: If the file is no such state, or of other settings.
        """
        try:
            content = read_arrays(path)
            state = _with_arrays(parse_json(str(content["state"])), content)
            settings = list(state["settings"])
        except (ValueError, KeyError, TypeError) as error:
            raise _no_state(path, error) from None
        own: list[Any] = json.loads(json.dumps(self._settings))
        if settings != own:
            alike = settings[:-1] == own[:-1]
            raise ConfigError(
                f"the stream was saved with {'another bundle' if alike else 'other settings'}",
                where=path,
                hint=f"Use {'it' if alike else 'these'} again, or begin anew with another file",
            )
        try:
            self._resampler.restore(state["resampler"])
            self._scorer.restore(state["scorer"])
            self._finder.restore(state["finder"])
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise _no_state(path, error) from None


def _no_state(path: str | Path, error: Exception) -> ConfigError:
    return ConfigError(
        f"no saved stream ({error})", where=path, hint="Give another file, or remove this one"
    )


RESAMPLING = 0.1
"""More seconds than the filter of any resampling looks ahead."""


def _without_arrays(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    """What JSON holds, arrays replaced by their names."""
    if isinstance(value, np.ndarray):
        name = f"array{len(arrays)}"
        arrays[name] = value
        return {"array": name}
    if isinstance(value, dict):
        return {key: _without_arrays(one, arrays) for key, one in value.items()}
    if isinstance(value, list):
        return [_without_arrays(one, arrays) for one in value]
    return value


def _with_arrays(value: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    if isinstance(value, dict):
        if value.keys() == {"array"}:
            return arrays[value["array"]]
        return {key: _with_arrays(one, arrays) for key, one in value.items()}
    if isinstance(value, list):
        return [_with_arrays(one, arrays) for one in value]
    return value
