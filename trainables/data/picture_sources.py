"""The table's entries of pictures with captions. `catalog` finds them by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from trainables.data import caption_sets, captions, emoji, mmmu, multi30k, xflickrco
from trainables.data.albums import Album, benchmark_of, files_of, training_of
from trainables.data.source import Hub, Request, Source, Web

_RAW = "https://raw.githubusercontent.com"
_MULTI30K = f"{_RAW}/multi30k/dataset/a3d2e0d26b56f3846f66a952536ffed4e401d05a/data"
_XTD10 = f"{_RAW}/adobe-research/Cross-lingual-Test-Dataset-XTD10/main"
_PHOTOGRAPHS = (
    "Flickr30k's and COCO's images are not in any of these places: ask for Flickr30k's at "
    "shannon.cs.illinois.edu/DenotationGraph, COCO's are at cocodataset.org."
)
_EXPOSED = (
    "Most image-text checkpoints were pre-trained on COCO or Flickr30k or on what was drawn from "
    "them, so hardly any number here is zero-shot."
)
_GENERIC = (
    "Not a retrieval benchmark: that questions search their pictures is this project's "
    "construction, without a published number. Many questions are generic ('which of these is "
    "shown?'), so several pictures answer them and one counts; those of equal words are counted. "
    "Options can give the picture away. Chance of recall@1 is one in as many as there are "
    "pictures; compare with a text-only control before anything is said about pictures."
)


def _source(name: str, album: Callable[[Request], Album], *, trained: bool, **facts: Any) -> Source:
    """An entry whose functions all start from the same album."""
    return Source(
        name=name,
        find=lambda request: files_of(album(request), request),
        benchmark=lambda request: benchmark_of(album(request), request).benchmark("t2i"),
        pictures=lambda request: benchmark_of(album(request), request),
        picture_training=(lambda request: training_of(album(request), request))
        if trained
        else None,
        untrained=f"{name} has pictures: load it with picture_catalog.load_picture_training"
        if trained
        else "it is evaluated whole; train on other pictures with --set train=...",
        **facts,
    )


_PHOTOS = (
    _source(
        "xflickrco",
        xflickrco.read_xflickrco,
        trained=True,
        about="xFlickr&CO (IGLUE): 1,000 Flickr30k and 1,000 COCO photographs, one caption each",
        licence="MIT (code); MTEB lists CC BY-SA 4.0; Flickr30k's images: research only",
        languages=xflickrco.LANGUAGES,
        sizes="test 2,000 pictures, a caption each in 8 languages; few-shot 1 to 1,500 in 7",
        relevance="all languages",
        can="Text to image and back in eight languages, by halves; few-shot training.",
        cannot="Captions are written for the picture in each language, not translated, so rank "
        f"distance holds differences of wording too. {_EXPOSED} {_PHOTOGRAPHS}",
        layout=(
            "annotations/<language>/{test,train_<size>}.jsonl[.gz] (github.com/e-bug/iglue)",
            "image files by the names in img_path, at any depth",
            "<language>-*.parquet with images (test, instead of both)",
        ),
        origins=(Hub("mteb/xflickrco", ("*.parquet",)),),
        parts=xflickrco.PARTS,
        part="test",
        training_part="train_100",
    ),
    _source(
        "multi30k",
        multi30k.read_multi30k,
        trained=True,
        about="Multi30k: Flickr30k's photographs, English captions translated by professionals",
        licence="none given; Flickr30k's images are for non-commercial research",
        languages=("cs", "de", "en", "fr"),
        sizes="train 29,000 pictures, val 1,014, tests 1,000 and 461; _x5: five captions in de, en",
        relevance="all languages",
        can="Training in four languages; text to image and back with rank distance.",
        cannot="Captions of the parts _x5 are written for the picture, not translated: no rank "
        f"distance. test_2017_flickr has no cs. {_EXPOSED} {_PHOTOGRAPHS}",
        layout=(
            "<part>.<language>[.gz], <part>.txt (task1/raw, task1/image_splits)",
            "<part>.<1-5>.<language>[.gz], <part>_images.txt (task2, parts _x5)",
            "image files by the names in image_splits, at any depth",
        ),
        origins=(
            Web(
                tuple(
                    f"{_MULTI30K}/{file}"
                    for part in ("train", "val", "test_2016_flickr")
                    for file in (
                        f"task1/image_splits/{part}.txt",
                        *(f"task1/raw/{part}.{code}.gz" for code in ("cs", "de", "en", "fr")),
                    )
                )
            ),
        ),
        parts=multi30k.PARTS,
        part="test_2016_flickr",
        training_part="train",
    ),
    _source(
        "xm3600",
        caption_sets.read_xm3600,
        trained=False,
        about="Crossmodal-3600: photographs from where 36 languages are spoken, captioned natively",
        licence="CC BY 4.0 (captions; images CC BY 2.0, each of its author)",
        languages=tuple(sorted(caption_sets.XM3600)),
        sizes="3,600 pictures, 261,375 captions in 36 languages",
        relevance="all languages",
        can="Text to image and back in 36 languages, low-resource ones among them.",
        cannot="Captions are written for the picture, one to three in a language: no rank distance "
        "unless on the part first, where it holds differences of wording too.",
        layout=("captions.jsonl, images/<key>.jpg", "<language>-*.parquet with images"),
        origins=(Hub("mteb/xm3600", ("data/{}-*.parquet", "{}-*.parquet")),),
        parts=("all", "first"),
        part="all",
    ),
    _source(
        "xtd10",
        caption_sets.read_xtd10,
        trained=False,
        about="XTD10: 1,000 photographs of COCO with one caption in each of eleven languages",
        licence="Adobe's own (research; see its LICENSE.md); COCO's images of their authors",
        languages=caption_sets.XTD10,
        sizes="1,000 pictures, a caption each in 11 languages",
        relevance="all languages",
        can="Text to image and back in eleven languages, with rank distance.",
        cannot="German, French (MIC) and Japanese (STAIR) captions come from other collections. "
        f"{_EXPOSED} {_PHOTOGRAPHS}",
        layout=(
            "{XTD10,MIC,STAIR}/test_1kcaptions_<language>.txt, XTD10/test_image_names.txt",
            "image files by the names in test_image_names.txt, at any depth",
        ),
        origins=(
            Web(
                (
                    f"{_XTD10}/XTD10/test_image_names.txt",
                    *(
                        f"{_XTD10}/{folder}/test_1kcaptions_{code}.txt"
                        for folder, codes in (
                            ("XTD10", "es it ko pl ru tr zh"),
                            ("MIC", "de en fr"),
                            ("STAIR", "jp"),
                        )
                        for code in codes.split()
                    ),
                )
            ),
        ),
    ),
)

_OTHERS = (
    _source(
        "emoji",
        emoji.read_emoji,
        trained=True,
        about="Emoji: Noto's pictures with Unicode CLDR's names, divided by family of names",
        licence="pictures Apache-2.0 or OFL 1.1, names Unicode License V3",
        languages=(),
        sizes="1,576 pictures of 1,358 families here, a name each in 13 languages",
        relevance="all languages",
        can="Real pictures and real words in any language of CLDR, small enough for two cores.",
        cannot="Drawings with names, no photographs with sentences; no published number. Variants "
        "of one picture are in one part, yet likeness between families is left: clocks, faces.",
        layout=(
            "annotations/<language>/annotations.json[.gz] (github.com/unicode-org/cldr-json)",
            "emoji_u<code points>.png (github.com/googlefonts/noto-emoji, folder png/72)",
        ),
        parts=emoji.PARTS,
        part="test",
        training_part="train",
    ),
    _source(
        "mmmu",
        mmmu.read_mmmu,
        trained=False,
        about="MMMU: college exam questions about one picture, in English",
        licence="Apache-2.0 (repository); images of many sources, AI2D's CC BY-SA 4.0",
        languages=("en",),
        sizes="validation 900 questions, fewer with one picture; MMMU-Pro's sample 20 of 21",
        relevance="all languages",
        can="Question to picture and picture to question, in 30 subjects.",
        cannot=_GENERIC,
        layout=(
            "[<subject>/]validation-*.parquet",
            "data.jsonl, static/images/* (MMMU-Pro's repository)",
        ),
        origins=(Hub("MMMU/MMMU", ("*/validation-*.parquet",)),),
        parts=mmmu.PARTS,
        part="questions",
    ),
    _source(
        "xmmmu",
        mmmu.read_xmmmu,
        trained=False,
        about="xMMMU (Pangea): questions of MMMU in seven languages",
        licence="of MMMU, see there",
        languages=mmmu.XMMMU,
        sizes="about 300 questions in 7 languages, fewer with one picture",
        relevance="all languages",
        can="Question to picture and back, with rank distance.",
        cannot=f"{_GENERIC} Machine translations.",
        layout=("<language>-*.parquet",),
        origins=(Hub("neulab/PangeaBench-xmmmu", ("data/{}-*.parquet", "{}-*.parquet")),),
        parts=mmmu.PARTS,
        part="questions",
    ),
    *(
        _source(
            name,
            captions.read_captions,
            trained=True,
            about=about,
            licence="of the data",
            languages=(),
            sizes="of the data",
            relevance="as given",
            can="Text to image and back; rank distance where each picture has one caption in every "
            "language.",
            cannot="Its quality is its maker's.",
            layout=("[<part>/]captions.jsonl, image files by the names in it",),
            free_parts=True,
        )
        for name, about in (
            ("captions", "People's own pictures with captions, in the format of docs/data.md"),
            (
                "flickr30k_x",
                "A benchmark of this name is not known: your own files, in captions' format, else "
                "Flickr30k's half of xflickrco",
            ),
        )
    ),
)

SOURCES = {source.name: source for source in (*_PHOTOS, *_OTHERS)}
