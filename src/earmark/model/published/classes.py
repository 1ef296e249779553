"""Classes of the published detectors, which their files do not name, and their median filters."""

from __future__ import annotations

from earmark.data.desed import CLASSES

DESED = CLASSES
MAESTRO = (
    "cutlery and dishes",
    "furniture dragging",
    "people talking",
    "children voices",
    "coffee machine",
    "footsteps",
    "large_vehicle",
    "car",
    "brakes_squeaking",
    "cash register beeping",
    "announcement",
    "shopping cart",
    "metro leaving",
    "metro approaching",
    "door opens/closes",
    "wind_blowing",
    "birds_singing",
)
_DESED_FRAMES = (6, 20, 7, 4, 7, 6, 6, 6, 6, 6)
_DCASE_2024_FRAMES = (
    *(3, 9, 9, 5, 5, 5, 9, 7, 11, 9),
    *(7, 3, 9, 13, 7, 1, 13, 3, 13, 7, 5, 5, 1, 13, 17, 13, 15),
)
MEDIANS = {DESED: _DESED_FRAMES, (*DESED, *MAESTRO): _DCASE_2024_FRAMES}
"""Classes in index order → median filters in frames, from the configurations of ATST-SED's second
stage and of CPJKU's."""

DEFAULT_MEDIAN = 7  # frames: ATST-SED's first stage
