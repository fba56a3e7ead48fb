"""The phone sets: CMU's 39 with silence, and TIMIT's 61, 48 and 39.

Lee and Hon, "Speaker-Independent Phone Recognition Using Hidden Markov Models", IEEE Trans. ASSP
37(11), 1989, table I: 61 labels are trained as 48 and scored as 39, silence among them.
"""

from __future__ import annotations

import csv
import functools
from importlib import resources
from types import MappingProxyType

from rtmobile_iree.speech.corpus import SILENCE

CMU = (
    *("aa", "ae", "ah", "ao", "aw", "ay", "b", "ch", "d", "dh", "eh", "er", "ey", "f", "g", "hh"),
    *("ih", "iy", "jh", "k", "l", "m", "n", "ng", "ow", "oy", "p", "r", "s", "sh", "t", "th"),
    *("uh", "uw", "v", "w", "y", "z", "zh"),
)
# the two of CMU's phones that Lee and Hon score as another
CMU_FOLDING = MappingProxyType(
    {SILENCE: SILENCE} | {phone: {"ao": "aa", "zh": "sh"}.get(phone, phone) for phone in CMU}
)
# in TIMIT only: a glottal stop, left out of training as Lee and Hon do
LEFT_OUT = "q"


@functools.cache
def timit_table() -> tuple[dict[str, str], dict[str, str]]:
    """TIMIT's label -> one of 48 for training, and those -> one of 39 for scoring; no `q`."""
    file = resources.files("rtmobile_iree.speech.corpora") / "timit_phones.tsv"
    lines = [line for line in file.read_text().splitlines() if not line.startswith("#")]
    rows = list(csv.reader(lines, delimiter="\t"))
    trained = {label: train for label, train, _ in rows}
    return trained, {train: scored for _, train, scored in rows}
