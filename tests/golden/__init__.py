"""Replays of recorded numbers: one file `test_<set>.py` for each `<set>.json`."""
