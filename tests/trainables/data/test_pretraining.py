from __future__ import annotations

import json
import re

import pytest

from trainables.data.contamination import Contamination, Finding, Verdict
from trainables.data.pretraining import (
    declared,
    declared_overlap,
    table,
    with_pretraining,
)
from trainables.encoders.architectures import KNOWN


@pytest.mark.parametrize("name", [name for name in KNOWN if name.startswith("M-CLIP/")])
def test_m_clip_is_not_taken_for_the_transformer_in_its_name(name: str) -> None:
    found = declared(f"{name}+openai/clip-vit-large-patch14", "xtd10")
    assert found.verdict == "overlap"
    assert "MSCOCO and VizWiz" in found.reason


@pytest.mark.parametrize(
    ("encoder", "benchmark", "verdict", "words"),
    [
        ("intfloat/multilingual-e5-small", "xquad_r", "overlap", "SQuAD's training part"),
        ("intfloat/multilingual-e5-large-instruct", "miracl", "overlap", "MIRACL.*2402.05672"),
        ("intfloat/multilingual-e5-small", "mlqa_r", "not checkable", "declares no training set"),
        ("intfloat/e5-small-v2", "xquad_r", "not checkable", "2212.03533"),
        ("intfloat/e5-small-v2", "mkqa", "overlap", "Natural Questions"),
        ("BAAI/bge-m3", "mr_tydi", "overlap", "bge-m3-data"),
        ("models/all-MiniLM-L6-v2", "xquad", "overlap", "87,599"),
        ("sentence-transformers/LaBSE", "xquad_r", "not checkable", "Wikipedia"),
        ("FacebookAI/xlm-roberta-base", "miracl", "not checkable", "CC-100"),
        ("my-own-model", "xquad_r", "not checkable", "nothing is known here.*my-own-model"),
        ("openai/clip-vit-base-patch32", "xflickrco", "not checkable", "YFCC100M.*2103.00020"),
        ("google/siglip2-base-patch16-naflex", "xtd10", "not checkable", "WebLI.*2502.14786"),
        ("facebook/metaclip-2-worldwide-huge", "multi30k", "not checkable", "300 languages"),
        ("Salesforce/blip2-itm-vit-g", "xflickrco", "overlap", "COCO's training part.*2301.12597"),
        ("Salesforce/blip2-itm-vit-g-coco", "multi30k", "not checkable", "fine-tuned on COCO"),
        ("Salesforce/blip2-itm-vit-g", "flickr30k_x", "not checkable", "Visual Genome"),
        (
            "M-CLIP/XLM-Roberta-Large-Vit-B-32+openai/clip-vit-base-patch32",
            "xtd10",
            "overlap",
            "MSCOCO and VizWiz.*; openai/clip-vit.*YFCC100M",
        ),
        (
            "sentence-transformers/all-MiniLM-L6-v2+openai/clip-vit-base-patch32",
            "flickr30k_x",
            "overlap",
            "Flickr 30k 317,695",
        ),
        ("my-own+openai/clip-vit-base-patch32", "emoji", "not checkable", "'my-own'.*YFCC"),
        ("embedded/clip-small", "scenes", "none found by these methods", "random numbers"),
        ("embedded/small", "synthetic", "none found by these methods", "random numbers"),
    ],
)
def test_what_encoders_declare(encoder: str, benchmark: str, verdict: str, words: str) -> None:
    found = declared(encoder, benchmark)
    assert found.verdict == verdict
    assert re.search(words, found.reason)
    assert declared_overlap(encoder, benchmark) == (found.reason if verdict == "overlap" else None)


def test_every_set_named_is_known() -> None:
    assert {name for entry in table().families for name in entry.sets} == set(table().training_sets)
    assert all(entry.source and entry.raw for entry in table().families)


@pytest.mark.parametrize(
    ("trained", "encoder", "verdict"),
    [
        ("overlap", "embedded/small", "overlap"),
        ("none found by these methods", "embedded/small", "none found by these methods"),
        ("not checkable", "embedded/small", "not checkable"),
        ("none found by these methods", "xlm-roberta-base", "not checkable"),
        ("overlap", "xlm-roberta-base", "overlap"),
        ("none found by these methods", "multilingual-e5-small", "overlap"),
        (None, "multilingual-e5-small", "overlap"),
        (None, "xlm-roberta-base", "not checkable"),
    ],
)
def test_the_worse_of_training_and_pretraining_counts(
    trained: Verdict | None, encoder: str, verdict: str
) -> None:
    finding = Finding("question ids", 1, 2, ("x",))
    before = None if trained is None else Contamination(trained, (finding,), ("translations",))
    found = with_pretraining(before, encoder, "xquad_r")
    assert found.verdict == verdict
    assert found.findings == (() if trained is None else (finding,))
    assert found.pretraining == declared(encoder, "xquad_r").reason
    json.dumps(found.to_json(), allow_nan=False)
