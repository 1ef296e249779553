"""Differences of settings, nested ones by their dotted names."""

from earmark.core.config import AtstSettings, NetworkSettings, differing


def test_differences_are_named_with_both_values() -> None:
    ours = NetworkSettings(dropout=0.1, encoder=AtstSettings(align="adaptive"))
    assert differing(ours, ours) == []
    theirs = NetworkSettings(encoder=AtstSettings())
    assert differing(ours, theirs) == [
        ("dropout", 0.1, 0.5),
        ("encoder.align", "adaptive", "exact"),
    ]
    light = NetworkSettings()
    assert differing(theirs, light) == [("encoder", theirs.encoder, None)]
