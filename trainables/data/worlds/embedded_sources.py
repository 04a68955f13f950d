"""Catalog entries of the data that this project generates: embedded worlds as texts and scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from trainables.data.benchmark import Benchmark, TrainingSet
from trainables.data.pictures import IMAGE
from trainables.data.source import Loader, Request, Source, SourceFiles
from trainables.data.worlds.scenes import scenes_benchmark, scenes_digest, scenes_training
from trainables.data.worlds.synthetic import synthetic_benchmark, synthetic_training
from trainables.data.worlds.worlds import WORLDS, World, world_digest
from trainables.errors import UserError

PARTS = ("test", "validation", "train")


def world_of(name: str) -> World:
    """Return the world of a name such as `synthetic`, `synthetic:null` or `scenes:null`."""
    return WORLDS[name.partition(":")[2] or "standard"]


def _source(kind: str, world: World, loader: Loader, content: str, **facts: Any) -> Source:
    return Source(
        name=kind if world.name == "standard" else f"{kind}:{world.name}",
        loader=loader,
        licence="of this project",
        languages=world.languages,
        sizes="docs/synthetic.md",
        relevance="all languages",
        parts=PARTS,
        part="test",
        training_part="train",
        embedded=True,
        content=content,
        **facts,
    )


def _files(request: Request) -> SourceFiles:
    return SourceFiles({}, request.source.languages)


def _held_out(request: Request) -> Literal["validation", "test"]:
    if request.part == "train":
        raise UserError(f"{request.name}: part train is trained on; evaluate test or validation")
    return "validation" if request.part == "validation" else "test"


def _texts(request: Request) -> Benchmark:
    benchmark = synthetic_benchmark(world_of(request.name), _held_out(request))
    return _restrict(benchmark, request.languages)


def _text_rows(request: Request) -> TrainingSet:
    return synthetic_training(world_of(request.name), negatives=request.negatives)


def _scenes(request: Request) -> Benchmark:
    benchmark = scenes_benchmark(world_of(request.name), _held_out(request))
    return _restrict(benchmark, request.languages)


def _restrict(benchmark: Benchmark, languages: Sequence[str] | None) -> Benchmark:
    """Keep the queries, candidates and judgements of some languages; images have no language."""
    if languages is None:
        return benchmark
    chosen = {*languages, IMAGE}
    corpus = {language: items for language, items in benchmark.corpus.items() if language in chosen}
    queries = {language: benchmark.queries[language] for language in sorted(languages)}
    candidates = {candidate.id for items in corpus.values() for candidate in items}
    qrels = {
        query.id: {c: gain for c, gain in benchmark.qrels[query.id].items() if c in candidates}
        for items in queries.values()
        for query in items
    }
    return replace(benchmark, queries=queries, corpus=corpus, qrels=qrels)


TEXTS = Loader(_files, _texts, _text_rows)
SCENES = Loader(
    _files,
    benchmark=_scenes,
    training=lambda request: scenes_training(world_of(request.name)),
    modality="image",
)


def _in_words(world: World) -> Source:
    return _source(
        "synthetic",
        world,
        TEXTS,
        world_digest(world),
        about="An embedded world, made from a seed: languages with shared concepts",
        can="Whether a study works, in minutes and offline.",
        cannot="A toy: no evidence about human languages.",
        has_negatives=True,
    )


def _in_scenes(world: World) -> Source:
    return _source(
        "scenes",
        world,
        SCENES,
        scenes_digest(world),
        about="An embedded world in pictures: passages as scenes, captions in made-up languages",
        can="Whether an image-text study works, in minutes and offline.",
        cannot="A toy: no evidence about human languages, nor about photographs.",
    )


SOURCES = {
    source.name: source for make in (_in_words, _in_scenes) for source in map(make, WORLDS.values())
}
