"""What published encoders say that they were trained on, as far as it concerns the benchmarks here.

No text of an encoder's pre-training can be looked at, so this is what its makers declare. Raw text
in which the articles occur (every XLM-R has read Wikipedia) is no overlap of questions, but keeps
the verdict at `not checkable`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from trainables.data.contamination import Contamination, Verdict

SQUAD = "SQuAD's training part, from whose development part the benchmark's questions come"
TYDI = "TyDi QA's questions, on which the benchmark is built"
FLICKR = "Flickr30k's captions, whose images or captions the benchmark shares"
COCO = "COCO's training part, from whose other parts the benchmark's photographs come"

SOURCES: Mapping[str, Mapping[str, str]] = {
    "SQuAD": {"xquad": SQUAD, "xquad_r": SQUAD},
    "Mr. TyDi": {
        "mr_tydi": "the benchmark's own training part",
        "tydiqa": TYDI,
        "xor_tydi": TYDI,
        "miracl": "Mr. TyDi's questions, which MIRACL takes over for eleven languages",
    },
    "MIRACL": {
        "miracl": "the benchmark's own training part",
        "mr_tydi": "MIRACL, which takes over Mr. TyDi's questions",
        "tydiqa": TYDI,
        "xor_tydi": TYDI,
    },
    "NQ": {"mkqa": "Natural Questions, of which MKQA translates 10,000"},
    "Flickr30k": dict.fromkeys(("flickr30k_x", "multi30k", "xflickrco"), FLICKR),
    "COCO": dict.fromkeys(("xflickrco", "xtd10"), COCO),
}
"""Training sets that contain or neighbour evaluation data: benchmark to how."""


@dataclass(frozen=True)
class Pretraining:
    """What checkpoints of a family were trained on.

    Attributes:
        marks: The encoder's name contains all of these, lower case.
        sets: Of `SOURCES`, those declared; other training data are no concern of the benchmarks.
        raw: Unlabelled text declared, where that is all that can hold evaluation articles.
        source: Where it is declared.
    """

    marks: tuple[str, ...]
    sets: tuple[str, ...]
    raw: str
    source: str


KNOWN = (
    # the names of its checkpoints contain those of their transformers
    Pretraining(
        ("m-clip",),
        ("COCO",),
        "captions of GCC and VizWiz in machine translation, what its transformer read, and what "
        "CLIP, its teacher, saw",
        "its repository: data of Conceptual Captions, MSCOCO and VizWiz",
    ),
    Pretraining(
        ("multilingual-e5",),
        ("SQuAD", "Mr. TyDi", "MIRACL", "NQ"),
        "Wikipedia, mC4, CC News and others as weakly supervised pairs",
        "arXiv:2402.05672, table 2; MTEB lists the same",
    ),
    Pretraining(
        ("e5-mistral",),
        ("SQuAD", "Mr. TyDi", "MIRACL", "NQ"),
        "what Mistral 7B read, which is not published",
        "arXiv:2401.00368, section 4.1",
    ),
    Pretraining(
        ("e5-",),
        ("NQ",),
        "Wikipedia, Common Crawl and others as weakly supervised pairs",
        "arXiv:2212.03533, section 4.2",
    ),
    Pretraining(
        ("bge-m3",),
        ("SQuAD", "Mr. TyDi", "MIRACL", "NQ"),
        "Wikipedia, mC4, CC News and others as pairs",
        "its published training data, Shitao/bge-m3-data; arXiv:2402.03216",
    ),
    Pretraining(
        ("all-minilm",),
        ("SQuAD", "NQ", "Flickr30k"),
        "none beyond that of MiniLM",
        "its model card: SQuAD2.0 87,599 pairs, Natural Questions 100,231, Flickr 30k 317,695",
    ),
    Pretraining(
        ("all-mpnet",),
        ("SQuAD", "NQ", "Flickr30k"),
        "none beyond that of MPNet",
        "its model card: SQuAD2.0 87,599 pairs, Natural Questions 100,231, Flickr 30k 317,695",
    ),
    Pretraining(
        ("paraphrase-multilingual",),
        ("Flickr30k",),
        "parallel sentences, and what its English teacher read",
        "sentence-transformers' training script for paraphrases",
    ),
    Pretraining(
        ("labse",),
        (),
        "Common Crawl and Wikipedia in 109 languages, and mined translations",
        "arXiv:2007.01852, section 3",
    ),
    Pretraining(
        ("blip2", "coco"),
        ("COCO",),
        "129 million pictures of the web, fine-tuned on COCO's retrieval",
        "arXiv:2301.12597, sections 3.4 and 4.4",
    ),
    Pretraining(
        ("blip2",),
        ("COCO",),
        "129 million pictures: Visual Genome, CC3M, CC12M, SBU and 115 million of LAION400M",
        "arXiv:2301.12597, section 3.4",
    ),
    Pretraining(
        ("metaclip-2",),
        (),
        "pictures of the web with texts in 300 languages",
        "arXiv:2507.22062, section 3",
    ),
    Pretraining(
        ("siglip2",),
        (),
        "WebLI: 10 billion pictures of the web with texts in 109 languages",
        "arXiv:2502.14786, section 2",
    ),
    Pretraining(
        ("siglip",),
        (),
        "WebLI: pictures of the web with texts in 109 languages",
        "arXiv:2303.15343, section 4",
    ),
    Pretraining(
        ("clip-vit",),
        (),
        "400 million pictures of the web with their texts, a part of YFCC100M, which is Flickr's, "
        "among them",
        "arXiv:2103.00020, sections 2.2 and 5",
    ),
    Pretraining(
        ("xlm-roberta",),
        (),
        "CC-100: web text in 100 languages",
        "arXiv:1911.02116",
    ),
    Pretraining(
        ("bert-base-multilingual",),
        (),
        "Wikipedia in 104 languages",
        "its model card",
    ),
)
"""The first whose marks all stand in the name is taken."""


@dataclass(frozen=True)
class Declared:
    """What is known of an encoder's pre-training and a benchmark.

    Attributes:
        verdict: `overlap` where a training set of `SOURCES` is declared, `none found by these
            methods` where the encoder starts from random numbers, else `not checkable`.
        reason: In a sentence, with its source.
    """

    verdict: Verdict
    reason: str


def declared(encoder_name: str, benchmark_name: str) -> Declared:
    """Look an encoder up by its name.

    Args:
        encoder_name: Hub id, folder or `embedded/<rung>`, or two of them joined by `+`. A folder
            must have kept the family's name, else nothing is known.
        benchmark_name: As in the catalog.
    """
    both = [_declared(part, benchmark_name) for part in encoder_name.split("+")]
    reasons = "; ".join(dict.fromkeys(found.reason for found in both))
    return Declared(_worst({found.verdict for found in both}), reasons)


def _declared(encoder_name: str, benchmark_name: str) -> Declared:
    """Of one checkpoint."""
    name = encoder_name.lower().replace("_", "-")
    if name.startswith("embedded/"):
        return Declared("none found by these methods", f"{encoder_name} starts from random numbers")
    known = next((p for p in KNOWN if all(mark in name for mark in p.marks)), None)
    if known is None:
        return Declared(
            "not checkable", f"nothing is known here of what {encoder_name!r} was trained on"
        )
    found = [
        f"{name} ({SOURCES[name][benchmark_name]})"
        for name in known.sets
        if benchmark_name in SOURCES[name]
    ]
    if found:
        return Declared(
            "overlap", f"{encoder_name} was trained on {'; '.join(found)}. Source: {known.source}"
        )
    return Declared(
        "not checkable",
        f"{encoder_name} declares no training set that holds {benchmark_name}'s questions, but "
        f"nobody can look for its passages in: {known.raw}. Source: {known.source}",
    )


def declared_overlap(encoder_name: str, benchmark_name: str) -> str | None:
    """The sentence that says why pre-training overlaps; None where none is declared."""
    found = declared(encoder_name, benchmark_name)
    return found.reason if found.verdict == "overlap" else None


def _worst(verdicts: Collection[Verdict]) -> Verdict:
    order: tuple[Verdict, ...] = ("overlap", "not checkable", "none found by these methods")
    return next(verdict for verdict in order if verdict in verdicts)


def with_pretraining(
    trained: Contamination | None, encoder_name: str, benchmark_name: str
) -> Contamination:
    """One verdict on both: what the trial trains on, and what its encoder saw before.

    `overlap` if either says so; else `not checkable` if either says so.

    Args:
        trained: Of the trial's own training data; None where it trains on nothing.
        encoder_name: As for `declared`.
        benchmark_name: As for `declared`.
    """
    before = declared(encoder_name, benchmark_name)
    verdicts = {before.verdict} | ({trained.verdict} if trained else set())
    return Contamination(
        verdict=_worst(verdicts),
        findings=trained.findings if trained else (),
        blind=trained.blind if trained else (),
        pretraining=before.reason,
    )
