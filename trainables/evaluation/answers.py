"""How often an encoder never sees the answer: it ends beyond what is read of its passage."""

from __future__ import annotations

from collections import Counter
from typing import Any

from trainables.data.corpus import Benchmark
from trainables.encoders.encoder import Encoder


def cut_answers(benchmark: Benchmark, encoder: Encoder) -> dict[str, int]:
    """Count answers beyond the encoder's limit, by the language of the query.

    An encoder says how far it reads by `passage_reach(texts)`, a number of code points for each;
    CLIP's text towers stop after 77 tokens, which few paragraphs fit into.

    Returns:
        `answers/de`, the queries whose source says where the answer is, and `answers/cut/de`, those
        whose answer is not wholly read; empty where source or encoder do not say.
    """
    reach: Any = getattr(encoder, "passage_reach", None)
    if reach is None or not benchmark.answers:
        return {}
    texts = {c.id: c.text for corpus in benchmark.corpus.values() for c in corpus}
    golds = sorted({gold for gold, _ in benchmark.answers.values()} & texts.keys())
    read = dict(zip(golds, reach([texts[gold] for gold in golds]), strict=True))
    counts: Counter[str] = Counter()
    for language, queries in benchmark.queries.items():
        known = [benchmark.answers[q.id] for q in queries if q.id in benchmark.answers]
        known = [(gold, end) for gold, end in known if gold in read]
        if known:
            counts[f"answers/{language}"] = len(known)
            counts[f"answers/cut/{language}"] = sum(end > read[gold] for gold, end in known)
    return dict(counts)
