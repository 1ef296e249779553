"""What a review page is made of: judged events, tiles, pieces of sound, data in scripts."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from earmark.core.errors import ConfigError, EarmarkError
from earmark.core.event import Event
from earmark.core.tables.scores import ScoreTable
from earmark.deliver.pages import sounds, tiles
from earmark.deliver.pages.judging import judge
from earmark.deliver.pages.review import ReviewItem, write_review
from earmark.deliver.pages.scripts import script_json
from earmark.deliver.pages.sounds import SOUND_KINDS, write_sound
from earmark.deliver.pages.tiles import Spectrogram, level_count, mel_weights, write_scores
from helpers.review_pages import LABELS, NASTY, RATE, item, small_page, sound

events = st.lists(
    st.builds(
        lambda on, size, label: Event(float(on), float(on + size), label),
        st.integers(0, 20), st.integers(1, 8), st.sampled_from("abc"),
    ),
    max_size=8,
)  # fmt: skip


def seconds(event: Event) -> set[int]:
    return set(range(int(event.onset), int(event.offset)))


@given(events, events)
def test_events_are_judged_by_what_covers_them(found: list[Event], truth: list[Event]) -> None:
    """As by counting whole seconds."""
    words, others = judge(found, truth)

    def covered(event: Event, by: list[Event]) -> bool:
        inside = seconds(event) & set().union(*map(seconds, by))
        return 2 * len(inside) >= len(seconds(event))

    for event, word in zip(found, words, strict=True):
        own = [true for true in truth if true.event_label == event.event_label]
        expected = "hit" if covered(event, own) else "false alarm"
        if expected != "hit" and covered(event, truth):
            expected = "confusion"
        assert word == expected
    for event, word in zip(truth, others, strict=True):
        own = [one for one in found if one.event_label == event.event_label]
        assert word == ("hit" if covered(event, own) else "miss")


def test_classes_nobody_labelled_are_not_judged() -> None:
    found = [Event(0, 1, "Dog"), Event(0, 1, "Cat")]
    assert judge(found, [], ["Dog"]) == (["false alarm", ""], [])


def spectrogram(samples: np.ndarray[Any, Any], rate: int, folder: Path, size: int) -> int:
    with (folder / "store").open("w+b") as store:
        made = Spectrogram(rate, store)
        for first in range(0, len(samples), size):
            made.push(samples[first : first + size].astype(np.float32))
        made.finish()
        return made.draw(folder)


@pytest.mark.parametrize("rate", [16_000, 24_000])
def test_sound_is_drawn_at_its_time_and_frequency(tmp_path: Path, rate: int) -> None:
    time = np.arange(rate * 70) / rate
    samples = 0.5 * np.sin(2 * np.pi * 2000 * time) * ((time >= 63) & (time < 64))
    assert spectrogram(samples, rate, tmp_path, 12_345) == 2
    assert sorted(path.name for path in tmp_path.glob("*.jpg")) == [
        "s0-0.jpg", "s0-1.jpg", "s1-0.jpg",
    ]  # fmt: skip
    for name, offset, each in (("s0-1", 60.0, 1 / 50), ("s1-0", 0.0, 4 / 50)):
        grey = np.asarray(Image.open(tmp_path / f"{name}.jpg").convert("L"), dtype=float)
        assert grey.shape == (128, round((70 - offset) / each + 0.49))
        bright = np.flatnonzero(grey.max(axis=0) > 100)
        assert offset + bright[0] * each == pytest.approx(63, abs=2 * each + 0.02)
        assert offset + (bright[-1] + 1) * each == pytest.approx(64, abs=2 * each + 0.02)
        band = 127 - int(grey.mean(axis=1).argmax())
        assert abs(int(mel_weights(rate)[:, round(2000 * 1024 / rate)].argmax()) - band) <= 1


def test_pictures_do_not_depend_on_blocks(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).normal(size=30_011) * 0.1
    pictures = []
    for size in (30_011, 777, 160):
        folder = tmp_path / str(size)
        folder.mkdir()
        spectrogram(samples, 16_000, folder, size)
        pictures.append((folder / "s0-0.jpg").read_bytes())
    assert pictures[0] == pictures[1] == pictures[2]


@pytest.mark.parametrize("samples", [1, 100, 1024, 320 * 3, 320 * 3 + 1])
def test_the_shortest_recordings_have_a_picture(tmp_path: Path, samples: int) -> None:
    spectrogram(np.zeros(samples), 16_000, tmp_path, 50)
    assert Image.open(tmp_path / "s0-0.jpg").width == -(-samples // 320)


def test_no_band_is_empty() -> None:
    for rate in (16_000, 24_000):
        weights = mel_weights(rate)
        np.testing.assert_allclose(weights.sum(axis=1), 1)
        centres = weights.argmax(axis=1)
        assert (np.diff(centres) >= 0).all()


def test_levels_end_with_one_tile() -> None:
    assert [level_count(n) for n in (1, 3000, 3001, 12_000, 12_001, 540_000)] == [1, 1, 2, 2, 3, 5]


def decode(folder: Path, level: int, rows: int) -> np.ndarray[Any, Any]:
    """Scores of a level [C, N] from the scripts of its tiles."""
    found = []
    for number in range(len(list(folder.glob(f"c{level}-*.js")))):
        text = (folder / f"c{level}-{number}.js").read_text()
        call = re.fullmatch(r'EARMARK\.scores\("page/0/c\d+-\d+","([\w+/=]*)"\);\n', text)
        assert call is not None
        data = np.frombuffer(base64.b64decode(call[1]), dtype=np.uint8)
        found.append(data.reshape(rows, -1))
    return np.concatenate(found, axis=1)


@pytest.mark.parametrize("frame", [0.01, 0.064, 0.48])
def test_peaks_of_scores_survive_every_level(tmp_path: Path, frame: float) -> None:
    count = round(130 / frame)
    edges = np.arange(count + 1) * frame
    values = np.random.default_rng(1).random((count, 3)) * 0.3
    values[round(77.3 / frame), 1] = 0.95
    table = ScoreTable(edges, values, ("a", "b", "c"))
    assert write_scores(tmp_path, "page/0", table, [0, 1]) == 2
    for level, each in ((0, 0.04), (1, 0.16)):
        scores = decode(tmp_path, level, 2)
        assert scores.shape[1] == -(-round(edges[-1] * 25 + 0.49) // 4**level)
        where = np.flatnonzero(scores[1] == 242)
        assert len(where) >= 1
        middle = (where.min() + where.max() + 1) / 2 * each
        assert middle == pytest.approx((round(77.3 / frame) + 0.5) * frame, abs=each + frame)
        assert scores[0].max() <= 77


@pytest.mark.parametrize("kind", SOUND_KINDS)
def test_pieces_are_the_sound_without_a_shift(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(sounds, "PIECE", 2.0)
    monkeypatch.setattr(sounds, "OVERLAP", 0.5)
    rng = np.random.default_rng(2)
    samples = 0.2 * np.convolve(rng.normal(size=16_000 * 5), np.ones(8) / 8, "same")
    soundfile.write(tmp_path / "a.wav", samples, RATE)
    made = write_sound(tmp_path / "a.wav", tmp_path, SOUND_KINDS[kind])
    assert (made.seconds, made.rate) == (5.0, RATE)
    assert [piece[:2] for piece in made.pieces] == [(0.0, 2.5), (2.0, 4.5), (4.0, 5.0)]
    for first, last, name in made.pieces:
        heard, rate = soundfile.read(tmp_path / name)
        assert rate == RATE
        own = samples[round(first * RATE) : round(last * RATE)][: len(heard)]
        heard = heard[: len(own)]
        product = np.fft.irfft(np.fft.rfft(heard) * np.conj(np.fft.rfft(own)))
        assert int(product.argmax()) == 0
        assert np.corrcoef(heard, own)[0, 1] > 0.9


def test_sound_of_any_rate_and_channels_is_written(tmp_path: Path) -> None:
    for rate, shown in ((8_000, 16_000), (22_050, 24_000), (96_000, 24_000)):
        stereo = 0.1 * np.random.default_rng(0).normal(size=(rate, 2))
        soundfile.write(tmp_path / "a.wav", stereo, rate)
        made = write_sound(tmp_path / "a.wav", tmp_path, SOUND_KINDS["opus"])
        assert (made.rate, made.seconds) == (shown, 1.0)


@given(st.text())
def test_data_in_scripts_stay_data(content: Any) -> None:
    text = script_json([content, "</script><!--", "\u2028"])
    assert text.isascii()
    assert not set("<>&") & set(text)
    assert json.loads(text) == [content, "</script><!--", "\u2028"]


def test_equal_pages_have_one_key_and_others_another(tmp_path: Path) -> None:
    def digest(out: str, found: list[Event]) -> str:
        one = item(sound(tmp_path / "a.wav", 3.0), found)
        page = write_review(tmp_path / out, [one], title="x", labels=LABELS)
        text = (page.file.parent / "page" / "data.js").read_text()
        return str(json.loads(text[len("EARMARK.open(") : -len(");\n")])["digest"])

    first = digest("one", [Event(1.0, 2.0, "Dog", 0.5)])
    assert digest("two", [Event(1.0, 2.0, "Dog", 0.5)]) == first
    assert digest("two", [Event(1.0, 2.5, "Dog", 0.5)]) != first  # over the page before


def test_an_unreadable_recording_is_told_and_the_others_shown(tmp_path: Path) -> None:
    def refuse(_: Any) -> Any:
        raise EarmarkError("breaks off", where=bad)

    bad = tmp_path / "bad.wav"
    good = item(sound(tmp_path / "a.wav", 2.0), [])
    page = write_review(
        tmp_path / "page", [ReviewItem(bad, "bad.wav", refuse), good], title="x", labels=LABELS
    )
    assert (page.recordings, list(page.failures)) == (1, [bad])
    assert sorted(path.name for path in (tmp_path / "page" / "page").iterdir()) == [
        "0", "data.js", "review.css", "review.js",
    ]  # fmt: skip
    with pytest.raises(EarmarkError, match="breaks off"):
        write_review(
            tmp_path / "none", [ReviewItem(bad, "bad.wav", refuse)], title="x", labels=LABELS
        )


def test_a_page_that_was_stopped_is_made_again(tmp_path: Path) -> None:
    def interrupt(_: Any) -> Any:
        raise KeyboardInterrupt

    one = ReviewItem(sound(tmp_path / "a.wav", 2.0), "a.wav", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_review(tmp_path / "page", [one], title="x", labels=LABELS)
    page = write_review(tmp_path / "page", [item(one.path, [])], title="x", labels=LABELS)
    assert page.file.is_file()
    assert (tmp_path / "page" / "page" / "0" / "a0.ogg").is_file()


def test_one_channel_is_heard(tmp_path: Path) -> None:
    stereo = np.stack([np.zeros(RATE), 0.3 * np.sin(np.arange(RATE) / 5)], axis=1)
    soundfile.write(tmp_path / "a.wav", stereo, RATE)
    for channel, loud in ((1, False), (2, True)):
        made = write_sound(tmp_path / "a.wav", tmp_path, SOUND_KINDS["flac"], channel)
        heard, _ = soundfile.read(tmp_path / made.pieces[0][2])
        assert (np.abs(heard).max() > 0.2) == loud


def test_sound_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    samples = np.zeros(RATE, dtype=np.float32)
    with pytest.raises(EarmarkError, match="cannot be written as OPUS"):
        sounds.write_piece(tmp_path / "gone" / "a.ogg", samples, RATE, SOUND_KINDS["opus"])


def test_mistakes_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="wax"):
        small_page(tmp_path, sound="wax")
    one = item(sound(tmp_path / "a.wav", 2.0), [])
    with pytest.raises(ConfigError, match=r"\.html"):
        write_review(tmp_path / "page", [one], title="x", labels=LABELS, single=True)


def test_a_page_of_one_file_closes_no_script(tmp_path: Path) -> None:
    text = small_page(tmp_path, single=True).file.read_text("utf-8")
    assert text.count("</script>") == text.count("<script>") == 2
    assert NASTY not in text
    pictures = re.findall(r'"page/0/s0-0\.jpg":"data:image/jpeg;base64,([\w+/=]+)"', text)
    assert Image.open(io.BytesIO(base64.b64decode(pictures[0]))).size == (600, tiles.BANDS)
