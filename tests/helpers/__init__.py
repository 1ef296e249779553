"""What several test files share that is no fixture; pytest's ``pythonpath`` makes it importable.

Nothing may be imported here: the reference libraries' environment, which has no Earmark, reads the
seeded cases of this folder too.
"""
