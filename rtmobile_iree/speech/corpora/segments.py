"""Times of phones while a corpus is made: (start_s, end_s, phone), without gaps from 0."""

from __future__ import annotations

from rtmobile_iree.speech.corpus import TIME_DIGITS

Times = tuple[tuple[float, float, str], ...]
# parts shorter than this at the end of a recording are dropped when it is cut
LEAST_S = 0.005


def ended(times: Times, end_s: float) -> Times:
    """The same labels for sound that ends a little sooner or later."""
    kept = [part for part in times if part[0] < end_s - LEAST_S] or list(times[:1])
    start, _, phone = kept[-1]
    return (*kept[:-1], (start, round(end_s, TIME_DIGITS), phone))
