"""The table's entries of what this project makes: the embedded worlds, in words and scenes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from trainables.data.corpus import Benchmark, TrainingSet
from trainables.data.pictures import PictureBenchmark, PictureTraining
from trainables.data.scenes import scenes_benchmark, scenes_digest, scenes_training
from trainables.data.source import Found, Request, Source
from trainables.data.synthetic import synthetic_benchmark, synthetic_training
from trainables.data.worlds import WORLDS, World, world_digest
from trainables.errors import UserError

PARTS = ("test", "validation", "train")


def _texts(name: str, world: World) -> Source:
    """A world's passages and questions."""

    def benchmark(request: Request) -> Benchmark:
        return _keep_languages(synthetic_benchmark(world, _held_out(request)), request.languages)

    def training(request: Request) -> TrainingSet:
        return synthetic_training(world, negatives=request.negatives)

    return Source(
        name=name,
        about="An embedded world, made from a seed: languages with shared concepts",
        licence="of this project",
        languages=world.languages,
        sizes="docs/synthetic.md",
        relevance="all languages",
        can="Whether a study works, in minutes and offline.",
        cannot="A toy: no evidence about human languages.",
        layout=(),
        find=lambda _: Found({}, world.languages),
        parts=PARTS,
        part="test",
        training_part="train",
        has_negatives=True,
        benchmark=benchmark,
        training=training,
        embedded=True,
        content=world_digest(world),
    )


def _scenes(name: str, world: World) -> Source:
    """A world's passages as pictures."""

    def pictures(request: Request) -> PictureBenchmark:
        found = scenes_benchmark(world, _held_out(request))
        wanted = request.languages or found.languages
        return replace(found, captions={la: found.captions[la] for la in sorted(wanted)})

    def training(request: Request) -> PictureTraining:
        return scenes_training(world)

    return Source(
        name=name,
        about="An embedded world in pictures: passages as scenes, captions in made-up languages",
        licence="of this project",
        languages=world.languages,
        sizes="docs/synthetic.md",
        relevance="all languages",
        can="Whether an image-text study works, in minutes and offline.",
        cannot="A toy: no evidence about human languages, nor about photographs.",
        layout=(),
        find=lambda _: Found({}, world.languages),
        parts=PARTS,
        part="test",
        training_part="train",
        benchmark=lambda request: pictures(request).benchmark("t2i"),
        pictures=pictures,
        picture_training=training,
        untrained=f"{name} has pictures: load it with picture_catalog.load_picture_training",
        embedded=True,
        content=scenes_digest(world),
    )


def _held_out(request: Request) -> Literal["validation", "test"]:
    if request.part == "train":
        raise UserError(f"{request.name}: part train is trained on; evaluate test or validation")
    return "validation" if request.part == "validation" else "test"


def _keep_languages(benchmark: Benchmark, languages: Sequence[str] | None) -> Benchmark:
    if languages is None:
        return benchmark
    if unknown := sorted(set(languages) - set(benchmark.languages)):
        raise UserError(
            f"{benchmark.name} has no language {unknown[0]!r}; "
            f"it has {', '.join(benchmark.languages)}"
        )
    corpus = {language: benchmark.corpus[language] for language in sorted(languages)}
    kept = {candidate.id for items in corpus.values() for candidate in items}
    queries = {language: benchmark.queries[language] for language in sorted(languages)}
    return Benchmark(
        name=benchmark.name,
        queries=queries,
        corpus=corpus,
        qrels={
            query.id: {
                candidate: gain
                for candidate, gain in benchmark.qrels[query.id].items()
                if candidate in kept
            }
            for items in queries.values()
            for query in items
        },
        judged_in_all_languages=benchmark.judged_in_all_languages,
        dropped=benchmark.dropped,
    )


SOURCES = {
    source.name: source
    for kind, made in (("synthetic", _texts), ("scenes", _scenes))
    for world in WORLDS.values()
    for source in [made(kind if world.name == "standard" else f"{kind}:{world.name}", world)]
}
