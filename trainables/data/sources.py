"""The table of sources: one entry each. `catalog` finds them by name."""

from __future__ import annotations

from trainables.data import (
    afriqa,
    belebele,
    jsonl,
    lareqa_sources,
    mkqa,
    mmarco,
    mteb,
    squad_files,
    topics,
)
from trainables.data.languages import BELEBELE, NAMES, bcp47
from trainables.data.source import Hub, Source, Web

_RAW = "https://raw.githubusercontent.com"
_AFRIQA = f"{_RAW}/masakhane-io/afriqa/5c29933753692c28773c34ac1f68482007f1d2bb/data/gold_passages"
_AFRIQA_FILES = "bem.en fon.fr hau.en ibo.en kin.en twi.en zul.en"
_NOT_PARALLEL = (
    "Questions are not translated: no cross-lingual truth, no X-Y batches, and a pool of several "
    "languages rewards language bias (pool_same_language, never multi)."
)

MADE_TO_EVALUATE = (
    Source(
        name="tydiqa",
        about="TyDi QA GoldP: questions against the gold paragraphs of their own language",
        licence="Apache-2.0",
        languages=("ar", "bn", "en", "fi", "id", "ko", "ru", "sw", "te"),
        sizes="dev 5,077 questions, 4,488 passages; train 49,881 questions",
        relevance="own language",
        can="Monolingual retrieval of paragraphs in nine languages, written natively.",
        cannot=_NOT_PARALLEL + " Training on train leaves no zero-shot claim on dev.",
        layout=(
            "tydiqa-goldp-v1.1-{dev,train}.json",
            "<language>_tydiqa_{dev,train}.json",
            "secondary_task/{validation,train}-*.parquet",
        ),
        find=squad_files.tydiqa_files,
        origins=(Hub("google-research-datasets/tydiqa", ("secondary_task/*.parquet",)),),
        parts=("dev", "train", "articles", "held-out"),
        part="dev",
        training_part="train",
        benchmark=squad_files.load_tydiqa,
        has_offsets=True,
        training=squad_files.train_on_tydiqa,
    ),
    Source(
        name="xor_tydi",
        about="XOR-TyDi's gold paragraphs: questions in seven languages, English paragraphs",
        licence="MIT (code); texts of Wikipedia, CC BY-SA",
        languages=("ar", "bn", "fi", "ja", "ko", "ru", "te"),
        sizes="not measured here",
        relevance="other language",
        can="Cross-lingual retrieval towards English: candidate paragraphs of the part.",
        cannot="Not XOR-Retrieve's R@2kt, which searches English Wikipedia for answer strings: "
        "trainables.data.xor_tydi.answer_recall measures that on passages from anywhere. No "
        "monolingual and no multilingual setting.",
        layout=("gp_squad_{dev,train}_data.json",),
        find=squad_files.xor_files,
        origins=(
            Web(
                (
                    "https://nlp.cs.washington.edu/xorqa/XORQA_site/data/"
                    "xorqa_reading_comprehension_format.zip",
                )
            ),
        ),
        parts=("dev", "train"),
        part="dev",
        benchmark=squad_files.load_xor_tydi,
        has_offsets=True,
        untrained="its passages are English only, so its rows exist in no language as a whole",
    ),
    Source(
        name="mr_tydi",
        about="Mr. TyDi v1.1: monolingual retrieval from Wikipedia",
        licence="Apache-2.0",
        languages=("ar", "bn", "en", "fi", "id", "ja", "ko", "ru", "sw", "te", "th"),
        sizes="dev 12,317 queries; passages 0.14 million (sw) to 33 million (en)",
        relevance="own language",
        can="Monolingual retrieval at full size; training rows with positives.",
        cannot=_NOT_PARALLEL + " Topics and judgements alone are counted, not evaluated.",
        layout=(
            "topics.mrtydi-v1.1-<language>.<part>.txt.gz, qrels.mrtydi-v1.1-<language>.<part>.txt",
            "mrtydi-v1.1-<language>/ir-format-data/{topic.<part>.tsv,qrels.<part>.txt}",
            "mrtydi-v1.1-<language>/corpus.jsonl.gz",
            "mrtydi-v1.1-<language>/train.jsonl.gz (training)",
        ),
        find=topics.topic_or_row_files,
        origins=(
            Hub(
                "castorini/mr-tydi",
                ("mrtydi-v1.1-{}/ir-format-data/*", "mrtydi-v1.1-{}/train.jsonl.gz"),
            ),
            Hub("castorini/mr-tydi-corpus", ("mrtydi-v1.1-{}/corpus.jsonl.gz",)),
        ),
        parts=("dev", "test", "train"),
        part="dev",
        training_part="train",
        benchmark=topics.load_topics,
        training=topics.train_on_rows,
        codes=NAMES,
    ),
    Source(
        name="miracl",
        about="MIRACL v1.0: monolingual retrieval from Wikipedia with explicit negatives",
        licence="Apache-2.0",
        languages=tuple("ar bn de en es fa fi fr hi id ja ko ru sw te th yo zh".split()),  # noqa: SIM905
        sizes="dev 13,071 queries in 16 languages; passages 0.13 million (sw) to 33 million (en)",
        relevance="own language",
        can="Monolingual retrieval at full size (evaluate_top for corpora of millions).",
        cannot=_NOT_PARALLEL + " Topics and judgements alone are counted, not evaluated.",
        layout=(
            "topics.miracl-v1.0-<language>-<part>.tsv, qrels.miracl-v1.0-<language>-<part>.tsv",
            "miracl-corpus-v1.0-<language>/docs-*.jsonl.gz",
        ),
        find=topics.topic_or_row_files,
        origins=(
            Hub("miracl/miracl", ("miracl-v1.0-{}/topics/*", "miracl-v1.0-{}/qrels/*")),
            Hub("miracl/miracl-corpus", ("miracl-corpus-v1.0-{}/*.jsonl.gz",)),
        ),
        parts=("dev", "train"),
        part="dev",
        benchmark=topics.load_topics,
        untrained="its judgements name passages of a corpus of millions; train on mr_tydi's rows",
    ),
    Source(
        name="belebele",
        about="Belebele: 122 variants of languages, fully parallel",
        licence="CC BY-SA 4.0",
        languages=tuple(sorted(map(bcp47, BELEBELE))),
        sizes="900 questions and 488 passages in each variant",
        relevance="all languages",
        can="Mono, cross and multi with rank distance, low-resource languages included.",
        cannot="Small corpora: scores saturate sooner than in retrieval at full size.",
        layout=(
            "<language>_<Script>.jsonl, such as swh_Latn.jsonl",
            "or the hub's <language>_<Script>/test*.parquet",
        ),
        find=belebele.belebele_files,
        origins=(
            Hub(
                "facebook/belebele", ("data/{}.jsonl",), "75b399394a9803252cfec289d103de462763db7c"
            ),
        ),
        benchmark=belebele.load_belebele,
        untrained="it is evaluated whole; train on other data with --set train=...",
        codes={bcp47(code): code for code in BELEBELE},
    ),
    Source(
        name="mkqa",
        about="MKQA: parallel questions with short answers; answer retrieval",
        licence="CC BY-SA 3.0 (MIA 2022's re-split: repository MIT)",
        languages=(),
        sizes="10,000 questions in 26 languages; MIA 2022's development split 1,758 in 12",
        relevance="all languages",
        can="Retrieval of answer strings within and across languages.",
        cannot="There are no passages: the corpus is the answer strings, so this is answer "
        "retrieval and not comparable with passage retrieval. MIA's split is not MKQA's.",
        layout=("mkqa.jsonl.gz", "mkqa_dev.zip", "mkqa-<language>.jsonl"),
        find=mkqa.mkqa_files,
        origins=(Web(("https://github.com/apple/ml-mkqa/raw/main/dataset/mkqa.jsonl.gz",)),),
        benchmark=mkqa.load_mkqa,
        untrained="it has no passages to train on",
    ),
    Source(
        name="afriqa",
        about="AfriQA: questions in African languages, English or French passages",
        licence="CC BY 4.0",
        languages=("bem", "en", "fon", "fr", "ha", "ig", "rw", "sw", "tw", "wo", "yo", "zu"),
        sizes="gold passages: dev 1,928 questions in 7 languages, train 2,171 in 8",
        relevance="other language",
        can="Cross-lingual retrieval from ten low-resource languages, and the same questions "
        "in translation as the monolingual reference.",
        cannot="Passages are English or French only, so nothing in an African corpus. No gold "
        "passages for wo, for sw train and dev, for yo dev.",
        layout=("gold_span_passages.afriqa.<language>.<pivot>.<part>.json",),
        find=afriqa.afriqa_files,
        origins=(
            Web(
                tuple(
                    f"{_AFRIQA}/{pair[:3]}/gold_span_passages.afriqa.{pair}.{part}.json"
                    for part in ("dev", "train")
                    for pair in (*_AFRIQA_FILES.split(), *(["yor.en"] if part == "train" else []))
                )
            ),
        ),
        parts=("dev", "train"),
        part="dev",
        training_part="train",
        benchmark=afriqa.load_afriqa,
        training=afriqa.train_on_afriqa,
    ),
    Source(
        name="amqa",
        about="AmQA: Amharic questions against Wikipedia paragraphs",
        licence="MIT",
        languages=("am",),
        sizes="dev 600 questions, 57 passages; train 1,723 questions, 286 passages",
        relevance="own language",
        can="Monolingual retrieval in a low-resource language.",
        cannot="One language only, and few passages, many questions each.",
        layout=("dev_data.json, train_data.json",),
        find=squad_files.amqa_files,
        origins=(
            Web(
                tuple(
                    f"{_RAW}/semantic-systems/amharic-qa/"
                    f"68d06ea20ba0dedfdb99385d44fbdc54b83ad96a/{part}_data.json"
                    for part in ("dev", "train")
                )
            ),
        ),
        parts=("dev", "train"),
        part="dev",
        training_part="train",
        benchmark=squad_files.load_amqa,
        has_offsets=True,
        training=squad_files.train_on_amqa,
    ),
    Source(
        name="mteb",
        about="Any benchmark in the shape of MTEB or BEIR: corpus, queries, qrels",
        licence="of the data",
        languages=(),
        sizes="of the data",
        relevance="own language",
        can="Monolingual retrieval on one's own or any MTEB task's files.",
        cannot="Nothing is known of translations, so no cross-lingual settings; jsonl has them.",
        layout=(
            "[<language>/]{corpus,queries}.jsonl, [<language>/]qrels/<part>.{tsv,jsonl}",
            "[<language>-]{corpus,queries,qrels}/<part>-*.parquet, {default,data}/<part>-*.parquet",
        ),
        find=mteb.mteb_files,
        part="test",
        benchmark=mteb.load_mteb,
        untrained="write training rows as jsonl (docs/data.md)",
        free_parts=True,
    ),
    *(
        Source(
            name=name,
            about=about,
            licence="of the data",
            languages=(),
            sizes="of the data",
            relevance="as given",
            can="What its judgements say: parallel where every query is judged in every language.",
            cannot="Its quality is its maker's.",
            layout=("[<part>/]{queries,corpus,qrels}.jsonl, or [<part>/]train.jsonl",),
            find=jsonl.jsonl_files,
            benchmark=jsonl.load_jsonl,
            training=jsonl.train_on_jsonl,
            has_negatives=True,
            free_parts=True,
        )
        for name, about in (
            ("jsonl", "People's own data, in the format of docs/data.md"),
            ("ndqa", "A benchmark of this name is not known: your own files, in jsonl's format"),
        )
    ),
)

MADE_TO_TRAIN = (
    Source(
        name="mmarco",
        about="mMARCO: MS MARCO machine-translated, parallel, with mined hard negatives",
        licence="Apache-2.0; MS MARCO is for non-commercial research",
        languages=tuple(sorted("ar de en es fr hi id it ja nl pt ru vi zh".split())),  # noqa: SIM905
        sizes="39.8 million triples; 8.8 million passages in each of 14 languages",
        relevance="all languages",
        can="Training X-X, X-Y and hybrid in 14 languages, at any size (part first-N).",
        cannot="Machine translations of English web text; Latin and English bias.",
        layout=(
            "triples.train.ids.small.tsv",
            "<language>_collection.tsv, <language>_queries.train.tsv",
        ),
        find=mmarco.mmarco_files,
        origins=(
            Hub(
                "unicamp-dl/mmarco",
                (
                    "data/triples.train.ids.small.tsv",
                    "data/google/collections/{}_collection.tsv",
                    "data/google/queries/train/{}_queries.train.tsv",
                ),
            ),
        ),
        parts=("train",),
        training_part="train",
        training=mmarco.train_on_mmarco,
        has_negatives=True,
        free_parts=True,
        codes=NAMES,
    ),
    Source(
        name="squad_translated",
        about="SQuAD machine-translated, parallel by id (XTREME's translate-train and others)",
        licence="CC BY-SA 4.0",
        languages=(),
        sizes="train 87,599 questions in English; shared by translations as far as they exist",
        relevance="all languages",
        can="Training X-X, X-Y and hybrid on paragraphs.",
        cannot="dev is the parent of XQuAD and XQuAD-R: training on it leaves no zero-shot claim "
        "there. Machine translations.",
        layout=(
            "squad.translate.{train,dev}.en-<language>.json",
            "{train,dev}-v1.1.json, dev-v1.1-es_small.json.gz, SQuAD_it-{train,test}.json.gz",
        ),
        find=squad_files.translation_files,
        origins=(
            Web(
                (
                    "https://rajpurkar.github.io/SQuAD-explorer/dataset/train-v1.1.json",
                    "https://storage.googleapis.com/xtreme_translations/SQuAD/translate-train/"
                    "squad.translate.train.en-{}.json",
                )
            ),
        ),
        parts=("train", "dev"),
        training_part="train",
        training=squad_files.train_on_translations,
        codes={code: code for code in "ar bg de el es fr hi ru sw th tr ur vi zh".split()},  # noqa: SIM905
    ),
)

SOURCES = {
    source.name: source for source in (*lareqa_sources.SOURCES, *MADE_TO_EVALUATE, *MADE_TO_TRAIN)
}
