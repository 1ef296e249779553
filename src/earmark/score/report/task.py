"""What a system is measured on, from files whose clips and classes may not agree."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from earmark.core.errors import ScoreError
from earmark.core.event import EventTuple
from earmark.core.tables.scores import ScoreTable
from earmark.score.classes import ScoredClasses
from earmark.score.events import Events, check_clips, counted_clips, some_of
from earmark.score.files import Truth
from earmark.score.issues import alike, event_issues, grouped, refuse_issues, suggestion
from earmark.score.settings import MetricSettings


@dataclass(frozen=True)
class ScoringTask:
    """What systems are measured on.

    Args:
        clips: Ids of the clips that count.
        truth: Their events by clip id; a clip without events may be absent, those of other clips
            are left aside.
        durations: Their seconds by clip id; ``None`` if they are not known, and then there is no
            PSDS.
        labels: The classes.
        settings: What is measured.
        of: Number of clips in the evaluation list; those that count if not given.
        missing: Clips of the list that could not be scored.
        fingerprint: Identifies the data; that of the evaluation itself if not given.
        notes: What a reader of the numbers must know about these, in words.
    """

    clips: tuple[str, ...]
    truth: Events
    durations: Mapping[str, float] | None
    labels: tuple[str, ...]
    settings: MetricSettings = field(default_factory=MetricSettings)
    of: int | None = None
    missing: tuple[str, ...] = ()
    fingerprint: str | None = None
    notes: tuple[str, ...] = ()

    def counted(self) -> ScoringTask:
        """The same without clips that the settings drop.

        Raises:
            ScoreError: If a clip has no duration.
        """
        if self.durations is not None:
            check_clips(self.clips, self.durations, "scores", "durations")
        of = len(self.clips) if self.of is None else self.of
        kept, dropped = counted_clips(self.clips, self.truth, self.settings.drop_eventless)
        truth = {clip: self.truth.get(clip, ()) for clip in kept}
        return replace(self, clips=kept, truth=truth, of=of, notes=(*self.notes, *dropped))

    def seconds(self) -> dict[str, float]:
        """Durations of the clips that count.

        Raises:
            ScoreError: If they are not known.
        """
        if self.durations is None:
            raise ScoreError("PSDS needs the clips' durations")
        return {clip: self.durations[clip] for clip in self.clips}


def make_task(
    truth: Truth,
    durations: Mapping[str, float] | None,
    labels: Iterable[str],
    *,
    scored: Collection[str] | None = None,
    derived: bool = False,
    classes: ScoredClasses | None = None,
    settings: MetricSettings | None = None,
    allow_missing: bool = False,
    strict: bool = False,
    notes: Iterable[str] = (),
) -> ScoringTask:
    """The clips that count, with their truth, and those that are missing.

    The list of clips is that of the durations; without, or if they are derived, of the truth.

    Args:
        truth: Ground truth.
        durations: Seconds by clip id, or ``None`` if they are not known.
        labels: The classes of the predictions, under their new names.
        scored: Clips that have score tables; all that are listed, if a system only gives events.
        derived: Whether the durations are those of the scores.
        classes: Which classes of the truth are measured.
        settings: What is measured.
        allow_missing: Whether listed clips may lack scores; they are then left aside, counted
            and named.
        strict: Whether truth that does not fit its clips is refused; it is noted otherwise.
        notes: What a reader must know, in words.

    Raises:
        ScoreError: If the truth has clips without durations, scores are of clips that are not
            listed, or clips are missing and may not be (they are named); or if the truth has
            classes that the predictions do not have.
        DataError: If it is ``strict``, and truth does not fit its clips.
    """
    labels, classes = tuple(labels), classes or ScoredClasses()
    if durations is None or derived:
        listed, what = truth.clips, "truth"
    else:
        listed, what = tuple(durations), "durations"
        check_clips(truth.clips, durations, "truth", "durations")
    if scored is not None:
        check_clips(scored, set(listed), "scores", what)
    missing = () if scored is None else tuple(clip for clip in listed if clip not in scored)
    if missing and not allow_missing:
        raise ScoreError(
            f"{len(missing)} of {len(listed)} clips have no scores: {some_of(missing)}",
            hint=f"Add --allow-missing to score the other {len(listed) - len(missing)}, and say so "
            "with the figures.",
        )
    events = classes.truth(truth.events)
    _check_classes(events, labels)
    gone = set(missing)
    issues = event_issues("truth", events, durations or {})
    issues += grouped("truth", (("unused-confidence", column) for column in truth.unused))
    issues += alike(truth.labels, "truth")
    if strict:
        refuse_issues(issues, truth.path)
    return ScoringTask(
        clips=tuple(clip for clip in listed if clip not in gone),
        truth=events,
        durations=durations,
        labels=labels,
        settings=settings or MetricSettings(),
        of=len(listed),
        missing=missing,
        notes=(*notes, *(issue.text for issue in issues)),
    )


def _check_classes(events: Mapping[str, Iterable[EventTuple]], labels: tuple[str, ...]) -> None:
    true = {event[2] for own in events.values() for event in own}
    lacking = sorted(true - set(labels))
    if lacking:
        raise ScoreError(
            f"the truth has classes that the scores do not have: {', '.join(lacking)}",
            hint=f"{suggestion(lacking, labels)}The scores have {', '.join(labels)}. Rename "
            "classes with --class-map, or measure some of them with --classes.",
        )


def ends_of(tables: Mapping[str, ScoreTable]) -> dict[str, float]:
    """Durations as score tables have them: each ends with its clip."""
    return {clip: float(tables[clip].boundaries[-1]) for clip in tables}
