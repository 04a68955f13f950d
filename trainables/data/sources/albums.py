"""Albums, the common form of all image sources: images with captions, by file name.

A source's reader returns an album, which names images and their captions. Here the image files are
located, checked, and turned into a benchmark or training rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from trainables.data.benchmark import Benchmark, Candidate, Query, TrainingSet
from trainables.data.formats.image_places import find_images
from trainables.data.formats.images import check_pictures
from trainables.data.formats.reading import SKIP, AbsentLanguageError, help_with
from trainables.data.pictures import IMAGE, Picture, TableImage
from trainables.data.source import Loader, Request, SourceFiles
from trainables.errors import UserError

ABSENT = "pictures that are not there"
UNASKED = "pictures without a caption in these languages"


@dataclass(frozen=True, slots=True)
class CaptionedImage:
    """One image with its captions.

    Attributes:
        id: Unique in its album.
        image: File name, with or without folders, or the cell of a table.
        captions: Language to one or more texts.
        cluster: The largest known unit of dependence.
    """

    id: str
    image: str | TableImage
    captions: Mapping[str, Sequence[str]]
    cluster: str


@dataclass(frozen=True)
class Album:
    """Images with captions, as the files of a source have them.

    Attributes:
        files: Files of captions, or tables, by canonical name.
        entries: In file order.
        folder: Folder that image names are relative to, if not the data folder.
        beside: Whether images may also be beside the source's folder, to be shared by sources.
        dropped: Reason to number of items that were left out.
    """

    files: Mapping[str, Path]
    entries: Sequence[CaptionedImage]
    folder: Path | None = None
    beside: bool = False
    dropped: Mapping[str, int] = field(default_factory=dict)


def album_loader(read: Callable[[Request], Album]) -> Loader:
    """Return a loader of the albums that `read` returns."""
    return Loader(
        files=lambda request: files_of(read(request), request),
        benchmark=lambda request: benchmark_of(read(request), request),
        training=lambda request: training_of(read(request), request),
        modality="image",
    )


def album_by_language(
    paths: Mapping[str, Sequence[Path]],
    read: Callable[[Path, str], Iterable[CaptionedImage]],
    name: str,
    *,
    files: Mapping[str, Path] | None = None,
    beside: bool = False,
    dropped: Mapping[str, int] | None = None,
) -> Album:
    """Build an album from files of one language each, merging entries of one image by id.

    Args:
        paths: Language to its files.
        read: Reads the entries of a file in a language.
        name: Name of the source, for messages.
        files: Other files that are read.
        beside: As for `Album`.
        dropped: As for `Album`; filled while files are read.
    """
    columns = {la: [e for path in shards for e in read(path, la)] for la, shards in paths.items()}
    numbered = {f"{la}.{n}": path for la, shards in paths.items() for n, path in enumerate(shards)}
    files = {**numbered, **(files or {})}
    return Album(files, merged(columns, name), beside=beside, dropped=dropped or {})


def merged(columns: Mapping[str, Sequence[CaptionedImage]], name: str) -> list[CaptionedImage]:
    """Merge entries of one language each to entries of all, in order of first occurrence.

    Args:
        columns: Language to its entries; an image may recur.
        name: Name of the source, for messages.

    Raises:
        UserError: Two images have one id.
    """
    first: dict[str, CaptionedImage] = {}
    captions: dict[str, dict[str, list[str]]] = {}
    for entries in columns.values():
        for entry in entries:
            known = first.setdefault(entry.id, entry)
            if isinstance(entry.image, str) and known.image != entry.image:
                raise UserError(
                    f"{name}: picture {entry.id!r} is {known.image} and {entry.image}; one id must "
                    "be one picture in all languages"
                )
            for language, texts in entry.captions.items():
                captions.setdefault(entry.id, {}).setdefault(language, []).extend(texts)
    return [CaptionedImage(e.id, e.image, captions[e.id], e.cluster) for e in first.values()]


def files_of(album: Album, request: Request) -> SourceFiles:
    """Return all files that determine what is loaded: captions, tables and image files.

    Raises:
        UserError: As `benchmark_of`, or the request is for training and no image exists.
    """
    entries = _requested(album, request)
    files = dict(album.files)
    for entry, source in zip(entries, _sources(album, entries, request), strict=True):
        if isinstance(source, Path):
            files[f"image {entry.id}"] = source
    _, _, refusal = _pictures(album, entries, request)
    if refusal and request.training:
        raise UserError(f"{request.name} cannot be trained on: {refusal}")
    languages = {language for entry in entries for language in entry.captions}
    return SourceFiles(files, request.languages or tuple(sorted(languages)))


def benchmark_of(album: Album, request: Request) -> Benchmark:
    """Turn an album into a benchmark; caption ids are `{language}:{picture}[#{number}]`.

    Raises:
        UserError: A requested language has no caption; an image is missing or unreadable (unless
            skipped), or outside the data folder. If no image exists at all, the benchmark's
            `refusal` says so, and it can only be counted.
    """
    entries = _requested(album, request)
    pictures, dropped, refusal = _pictures(album, entries, request)
    available = [entry for entry in entries if entry.id in pictures]
    languages = sorted({language for entry in available for language in entry.captions})
    single = all(
        len(entry.captions.get(language, ())) == 1 for entry in available for language in languages
    )
    captions: dict[str, list[Query]] = {language: [] for language in languages}
    qrels = {}
    for entry in available:
        for language, texts in entry.captions.items():
            for number, text in enumerate(texts):
                ending = f"#{number}" if len(texts) > 1 else ""
                identity = f"{language}:{entry.id}{ending}"
                shared = entry.id if single else identity
                captions[language].append(Query(identity, text, shared, entry.cluster))
                qrels[identity] = {entry.id: 1.0}
    return Benchmark(
        name=request.name,
        queries=captions,
        corpus={IMAGE: [Candidate(entry.id, entry.id) for entry in available]},
        qrels=qrels,
        judged_in_all_languages=False,
        dropped=dropped,
        refusal=refusal,
        pictures=[pictures[entry.id] for entry in available],
    )


def training_of(album: Album, request: Request) -> TrainingSet:
    """Turn an album into rows: row k of an image holds the k-th caption of every language.

    Raises:
        UserError: As `benchmark_of`, or no image exists.
    """
    entries = _requested(album, request)
    pictures, _, refusal = _pictures(album, entries, request)
    if refusal:
        raise UserError(f"{request.name} cannot be trained on: {refusal}")
    rows = [
        (entry, number)
        for entry in entries
        if entry.id in pictures
        for number in range(max(map(len, entry.captions.values())))
    ]
    languages = sorted({language for entry, _ in rows for language in entry.captions})
    multiple = {entry.id for entry, number in rows if number}

    def text(entry: CaptionedImage, number: int, language: str) -> str | None:
        texts = entry.captions.get(language, ())
        return texts[number] if number < len(texts) else None

    captions = {la: [text(entry, number, la) for entry, number in rows] for la in languages}
    return TrainingSet(
        name=request.name,
        questions=[f"{e.id}#{number}" if e.id in multiple else e.id for e, number in rows],
        golds=[entry.id for entry, _ in rows],
        clusters=[entry.cluster for entry, _ in rows],
        queries=captions,
        passages=captions,
        pictures=[pictures[entry.id] for entry, _ in rows],
    )


def _requested(album: Album, request: Request) -> list[CaptionedImage]:
    """Return entries that have captions in the requested languages, and only those captions."""
    present = {language for entry in album.entries for language in entry.captions}
    if not present:
        raise UserError(
            f"{request.name}: {request.folder} holds no captions; {help_with(request.name)}"
        )
    if missing := set(request.languages or ()) - present:
        raise AbsentLanguageError(request.name, "caption", missing, present, request.folder)
    languages = set(request.languages or present)
    return [
        CaptionedImage(
            e.id, e.image, {la: t for la, t in e.captions.items() if la in languages}, e.cluster
        )
        for e in album.entries
        if languages & e.captions.keys()
    ]


def _pictures(
    album: Album, entries: Sequence[CaptionedImage], request: Request
) -> tuple[dict[str, Picture], dict[str, int], str]:
    """Return images by id, counts of what is left out, and why nothing can be encoded, if so."""
    sources = _sources(album, entries, request)
    dropped = Counter(album.dropped)
    dropped[UNASKED] += len(album.entries) - len(entries)
    absent = [e for e, source in zip(entries, sources, strict=True) if source is None]
    refusal = ""
    if len(absent) == len(entries):
        refusal = (
            f"there are captions, but none of the {len(entries)} pictures, such as "
            f"{entries[0].image}, is in {request.folder}; {help_with(request.name)}"
        )
    elif absent and request.skipped is None:
        raise UserError(
            f"{request.name}: {len(absent)} of {len(entries)} pictures are not in "
            f"{request.folder}, such as {absent[0].image} of {absent[0].id!r}; add them, {SKIP}"
        )
    else:
        dropped[ABSENT] += len(absent)
    pictures = [
        Picture(e.id, request.folder / str(e.image) if source is None else source, e.cluster)
        for e, source in zip(entries, sources, strict=True)
        if refusal or source is not None
    ]
    skipped: Counter[str] | None = None if request.skipped is None else Counter()
    if not refusal:
        pictures = check_pictures(pictures, request.name, skipped)
    dropped.update(skipped or {})
    dropped.update(request.skipped or {})
    return {p.id: p for p in pictures}, {k: n for k, n in dropped.items() if n}, refusal


def _sources(
    album: Album, entries: Sequence[CaptionedImage], request: Request
) -> list[Path | TableImage | None]:
    """Locate each image; None if it is missing."""
    roots = [request.folder]
    if album.beside and request.folder.name == request.name:
        roots.append(request.folder.parent)
    starts = [album.folder, *roots] if album.folder else roots
    names = [entry.image for entry in entries if isinstance(entry.image, str)]
    places = find_images(names, starts, roots, request.name)
    return [e.image if isinstance(e.image, TableImage) else places.get(e.image) for e in entries]
