"""Data folders scored by mteb's own loader and evaluator, and by this project.

Both are given the same vectors (`hashed`), without ties. mteb rounds to five digits.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from numpy.typing import NDArray

from tests.peers.hashed import vectors
from trainables.data.benchmark import Benchmark
from trainables.data.catalog import load_benchmark
from trainables.errors import UserError
from trainables.evaluation.evaluate import evaluate

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / ".peers" / "bin" / "python"
METRICS = {
    "ndcg_at_10": "ndcg_at_10",
    "map": "map_at_1000",
    "mrr": "mrr_at_1000",
    "recall_at_1": "recall_at_1",
    "recall_at_10": "recall_at_10",
    "recall_at_100": "recall_at_100",
}
"""This project's names to mteb's; no corpus here has a thousand candidates."""

Row = dict[str, Any]


@dataclass
class Data:
    """The rows of one language and split."""

    corpus: list[Row]
    queries: list[Row]
    qrels: list[Row]


@dataclass
class Case:
    """A folder as this project reads it, and as mteb does where that must be another.

    Attributes:
        name: Of the folder.
        write: Writes it, and mteb's.
        language: Asked for, as BCP 47; `sw` where the folder does not say.
        split: Asked for.
        subset: As mteb calls it.
        twin: Whether mteb reads `NAME-mteb` instead.
        skip: Whether malformed rows are skipped here.
    """

    name: str
    write: Callable[[Path, Path], None]
    language: str = "sw"
    split: str = "test"
    subset: str | None = None
    twin: bool = False
    skip: bool = False


def data(name: str, candidates: int = 40, queries: int = 12, grades: Sequence[int] = (1,)) -> Data:
    """Random rows, the same whenever the name is."""
    draw = random.Random(name)
    words = [f"neno{number}" for number in range(60)]

    def text(length: int) -> str:
        return " ".join(draw.choices(words, k=length))

    corpus = [{"_id": f"d{n}", "title": text(2), "text": text(8)} for n in range(candidates)]
    query_rows = [{"_id": f"q{n}", "text": text(4)} for n in range(queries)]
    qrels = [
        {"query-id": query["_id"], "corpus-id": candidate["_id"], "score": draw.choice(grades)}
        for query in query_rows
        for candidate in draw.sample(corpus, draw.randint(1, 4))
    ]
    # every query has a relevant candidate
    for row in {row["query-id"]: row for row in qrels}.values():
        row["score"] = max(*grades, 1)
    return Data(corpus, query_rows, qrels)


def lines(rows: Sequence[Row], end: str = "\n") -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + end for row in rows).encode()


def put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def configure(folder: Path, configs: Mapping[str, Mapping[str, str]]) -> None:
    """The head of a data card, from which mteb knows where a folder's configurations lie."""
    entries = [
        {"config_name": name, "data_files": [{"split": s, "path": p} for s, p in splits.items()]}
        for name, splits in configs.items()
    ]
    put(folder / "README.md", f"---\nconfigs: {json.dumps(entries)}\n---\n".encode())


def beir(
    folder: Path,
    held: Data,
    packed: str = "",
    qrels: bytes | None = None,
    end: str = "\n",
    mark: bytes = b"",
    subset: str = "",
) -> None:
    """JSON lines; `qrels` are those of a TSV file, which mteb's loader cannot mix with them."""
    place = folder / subset if subset else folder
    put(place / f"corpus.jsonl{packed}", mark + lines(held.corpus, end))
    put(place / f"queries.jsonl{packed}", mark + lines(held.queries, end))
    name = "test.jsonl" if qrels is None else "test.tsv"
    put(place / "qrels" / name, mark + (lines(held.qrels, end) if qrels is None else qrels))
    inside, before = (f"{subset}/", f"{subset}-") if subset else ("", "")
    configure(
        folder,
        {
            f"{before}corpus": {"corpus": f"{inside}corpus.jsonl{packed}"},
            f"{before}queries": {"queries": f"{inside}queries.jsonl{packed}"},
            f"{before}qrels" if subset else "default": {"test": f"{inside}qrels/{name}"},
        },
    )


def tsv(held: Data, header: bool = True, end: str = "\n") -> bytes:
    rows = ["\t".join(str(value) for value in row.values()) for row in held.qrels]
    return "".join(row + end for row in ["query-id\tcorpus-id\tscore"] * header + rows).encode()


@dataclass
class Hub:
    """Writes Parquet as the hub has it, several splits and subsets in one folder."""

    folder: Path
    configs: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(
        self,
        rows: Sequence[Row],
        config: str,
        split: str,
        *,
        place: str | None = None,
        shards: int = 1,
        types: Mapping[str, Any] | None = None,
    ) -> None:
        table = pyarrow.Table.from_pylist(list(rows))
        for column, kind in (types or {}).items():
            number = table.schema.get_field_index(column)
            table = table.set_column(number, column, table.column(column).cast(kind))
        inside = place or config
        (self.folder / inside).mkdir(parents=True, exist_ok=True)
        for shard in range(shards):
            name = f"{split}-{shard:05d}-of-{shards:05d}.parquet"
            first, last = (len(rows) * end // shards for end in (shard, shard + 1))
            part = table.slice(first, last - first)
            pyarrow.parquet.write_table(part, self.folder / inside / name)
        self.configs.setdefault(config, {})[split] = f"{inside}/{split}-*"
        configure(self.folder, self.configs)

    def whole(
        self,
        held: Data,
        subset: str = "",
        split: str = "test",
        own: tuple[str, str] = ("corpus", "queries"),
        *,
        qrels: str = "qrels",
        place: str | None = None,
        shards: int = 1,
        types: Mapping[str, Any] | None = None,
    ) -> None:
        before, texts = f"{subset}-" if subset else "", types or {}
        ids = {"_id": texts["_id"]} if "_id" in texts else {}
        judged = {key: kind for key, kind in texts.items() if key != "_id"}
        self.add(held.corpus, f"{before}corpus", own[0], shards=shards, types=ids)
        self.add(held.queries, f"{before}queries", own[1], shards=shards, types=ids)
        self.add(held.qrels, f"{before}{qrels}", split, place=place, types=judged)


def numbered(held: Data) -> Data:
    """Whole numbers for ids."""
    for row in (*held.corpus, *held.queries):
        row["_id"] = int(row["_id"][1:])
    for row in held.qrels:
        row["query-id"], row["corpus-id"] = int(row["query-id"][1:]), int(row["corpus-id"][1:])
    return held


# ---- the folders


def plain(change: Callable[[Data], None] = lambda held: None, **how: Any) -> Callable[..., None]:
    def write(folder: Path, _: Path) -> None:
        held = data(folder.name)
        change(held)
        beir(folder, held, **how)

    return write


def graded(*grades: int) -> Callable[[Path, Path], None]:
    return lambda folder, _: beir(folder, data(folder.name, grades=grades))


def tabbed(**how: Any) -> Callable[[Path, Path], None]:
    def write(folder: Path, twin: Path) -> None:
        held = data(folder.name, grades=(0, 1, 2))
        beir(folder, held, qrels=tsv(held, **how))
        beir(twin, held)

    return write


def hub(change: Callable[[Data], Any] = lambda held: None, **how: Any) -> Callable[..., None]:
    def write(folder: Path, _: Path) -> None:
        held = data(folder.name, grades=(0, 1, 2))
        change(held)
        Hub(folder).whole(held, **how)

    return write


def two_languages(folder: Path, _: Path) -> None:
    written = Hub(folder)
    for subset in ("sw", "yo"):
        written.whole(data(f"{folder.name} {subset}"), subset, own=("test", "test"))


def two_splits(folder: Path, _: Path) -> None:
    written = Hub(folder)
    for split in ("dev", "test"):
        written.whole(data(f"{folder.name} {split}"), "sw", split, own=(split, split))


def language_folders(folder: Path, _: Path) -> None:
    for subset in ("sw", "yo"):
        beir(folder, data(f"{folder.name} {subset}"), subset=subset)
    configure(
        folder,
        {
            "yo-corpus": {"corpus": "yo/corpus.jsonl"},
            "yo-queries": {"queries": "yo/queries.jsonl"},
            "yo-qrels": {"test": "yo/qrels/test.jsonl"},
        },
    )


def mixed_ids(folder: Path, _: Path) -> None:
    held = data(folder.name)
    for row in (*held.corpus, *held.queries):
        row["_id"] = row["_id"][1:]
    text = pyarrow.large_string()
    types = {"_id": text, "query-id": pyarrow.int16(), "corpus-id": pyarrow.uint64()}
    numbers = numbered(data(folder.name))
    Hub(folder).whole(Data(held.corpus, held.queries, numbers.qrels), types=types)


def each(rows: str, **values: Any) -> Callable[[Data], None]:
    """Sets keys of the rows of one file; a function is given the row."""

    def change(held: Data) -> None:
        for row in getattr(held, rows):
            row |= {k: v(row) if callable(v) else v for k, v in values.items()}

    return change


def without_titles(held: Data) -> None:
    for row in held.corpus:
        del row["title"]


def some_titles(held: Data) -> None:
    for number, row in enumerate(held.corpus):
        row["title" if number % 3 else "text"] = "" if number % 3 < 2 else " "


def further_queries(held: Data) -> None:
    held.queries += [{"_id": f"more{n}", "text": f"swali {n}"} for n in range(5)]


def odd_characters(held: Data) -> None:
    for number, row in enumerate(held.corpus):
        row["text"] += f' \u2028 \ufeff\u00e9\U0001f30d "{number}" \\ \t\u0085 mwisho'


def blanks_around(held: Data) -> None:
    for row in (*held.corpus, *held.queries):
        row["text"] = f"  {row['text']} \n"


def without_line(held: Data) -> None:
    for row in (*held.corpus, *held.queries):
        row["id"] = row.pop("_id")


def reranking(folder: Path, _: Path) -> None:
    Hub(folder).whole(data(folder.name))
    Hub(folder).add([{"query-id": "q0", "corpus-ids": ["d0"]}], "top_ranked", "test")


def own_candidates(held: Data) -> None:
    held.queries += [{"_id": row["_id"], "text": row["text"]} for row in held.corpus[:3]]


def below(held: Data) -> None:
    """Candidates judged as worse than irrelevant, among the relevant ones."""
    for query in held.queries:
        judged = {r["corpus-id"] for r in held.qrels if r["query-id"] == query["_id"]}
        [free, *_] = [row["_id"] for row in held.corpus if row["_id"] not in judged]
        held.qrels.append({"query-id": query["_id"], "corpus-id": free, "score": -2})


def dangling(folder: Path, twin: Path) -> None:
    held = data(folder.name)
    beir(twin, held)
    lost = [{"query-id": "q0", "corpus-id": "gone", "score": 1}]
    beir(folder, Data(held.corpus, held.queries, held.qrels + lost))


def empty_and_judged(folder: Path, twin: Path) -> None:
    """mteb encodes the empty text; here the candidate and its judgements are left out."""
    held = data(folder.name)
    beir(twin, held)
    held.corpus.append({"_id": "empty", "title": "", "text": " "})
    held.qrels.append({"query-id": "q0", "corpus-id": "empty", "score": 1})
    beir(folder, held)


def only_zeros(held: Data) -> None:
    for row in held.qrels:
        row["score"] = int(row["query-id"] not in ("q0", "q1", "q2"))


def null_titles(folder: Path, twin: Path) -> None:
    held = data(folder.name)
    each("corpus", title="")(held)
    beir(twin, held)
    each("corpus", title=None)(held)
    beir(folder, held)


CASES = (
    Case("jsonl", plain()),
    Case("jsonl-packed", plain(packed=".gz")),
    Case("jsonl-crlf", plain(end="\r\n")),
    Case("jsonl-language-folders", language_folders, "yo", subset="yo"),
    Case("tsv", tabbed(), twin=True),
    Case("tsv-crlf", tabbed(end="\r\n"), twin=True),
    Case("tsv-without-header", tabbed(header=False), twin=True),
    Case("gains-0-to-3", graded(0, 1, 2, 3)),
    Case("gains-0-and-1", graded(0, 1)),
    Case("gains-5-and-10", graded(5, 10)),
    Case("gains-below-zero", plain(below)),
    Case("gains-1.0", plain(each("qrels", score=lambda row: float(row["score"])))),
    Case("gains-as-text", hub(each("qrels", score=lambda row: str(row["score"])))),
    Case("titles-missing", plain(without_titles)),
    Case("titles-or-texts-blank", plain(some_titles)),
    Case("titles-of-queries", plain(each("queries", title="kichwa"))),
    Case("titles-null", null_titles, twin=True),
    Case("blanks-around", plain(blanks_around)),
    Case("odd-characters", plain(odd_characters)),
    Case("instructions", plain(each("queries", instruction=lambda row: f"tafuta {row['_id']}"))),
    Case("instructions-blank", plain(each("queries", instruction=""))),
    Case("further-columns", plain(each("corpus", metadata="x", lang="sw"))),
    Case("further-queries", plain(further_queries)),
    Case("id-without-line", plain(without_line)),
    Case("hub-default", hub(qrels="default", place="default")),
    Case("hub-data", hub(qrels="default", place="data")),
    Case("hub-qrels", hub()),
    Case("hub-own-splits", hub(own=("test", "test"))),
    Case("hub-shards", hub(shards=12)),
    Case("hub-numbers", hub(numbered)),
    Case("hub-numbers-of-32-bits", hub(numbered, types=dict.fromkeys(
        ("_id", "query-id", "corpus-id"), pyarrow.int32()))),
    Case("hub-numbers-and-texts", mixed_ids),
    Case("hub-dictionaries", hub(types=dict.fromkeys(
        ("query-id", "corpus-id"), pyarrow.dictionary(pyarrow.int32(), pyarrow.string())))),
    Case("hub-two-languages", two_languages, "yo", subset="yo"),
    Case("hub-two-splits", two_splits, split="dev", subset="sw"),
    Case("hub-two-splits-test", two_splits, split="test", subset="sw"),
    Case("hub-name-of-a-language", hub(subset="swahili"), subset="swahili"),
    Case("hub-script", hub(subset="swa_Latn"), subset="swa_Latn"),
    Case("hub-pair-of-one", hub(subset="swa-swa"), subset="swa-swa"),
    Case("hub-region", hub(subset="zh-CN"), "zh-CN", subset="zh-CN"),
    Case("dangling", dangling, twin=True, skip=True),
    Case("empty-and-judged", empty_and_judged, twin=True, skip=True),
)  # fmt: skip

REFUSED: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "dangling": (dangling, "mteb counts a candidate that no corpus holds as never retrieved"),
    "empty-and-judged": (empty_and_judged, "mteb encodes the empty text"),
    "id-twice": (
        plain(lambda held: held.corpus.append(held.corpus[0] | {"text": "tena"})),
        "mteb encodes both and keeps the better or the later score",
    ),
    "query-twice": (
        plain(lambda held: held.queries.append(held.queries[0] | {"text": "tena"})),
        "mteb keeps the later one",
    ),
    "judged-twice": (
        plain(lambda held: held.qrels.append(held.qrels[0] | {"score": 5})),
        "mteb keeps the later gain, trec_eval stops",
    ),
    "gain-of-a-half": (
        plain(each("qrels", score=0.5)),
        "mteb and pytrec_eval stop too: gains are whole numbers",
    ),
    "gain-null": (plain(lambda held: held.qrels[0].update(score=None)), "mteb stops too"),
    "two-languages-in-a-pair": (
        hub(subset="swa-deu"),
        "which language is that of the queries differs between the tasks of mteb",
    ),
    "queries-that-are-candidates": (
        plain(own_candidates),
        "mteb's tasks of this kind (ArguAna, Quora) leave the query itself out of its ranking",
    ),
    "reranking": (
        reranking,
        "mteb ranks only the candidates that the folder names",
    ),
}  # fmt: skip
"""Folders that are not read unless asked to (`skip_malformed`), and what mteb does with them."""


class Hashed:
    """What this project calls an encoder."""

    def encode_queries(self, texts: Sequence[str], language: str) -> NDArray[np.float32]:
        return vectors(texts)

    def encode_passages(self, texts: Sequence[str], language: str) -> NDArray[np.float32]:
        return vectors(texts)


def load(case: Case, folder: Path) -> Benchmark:
    return load_benchmark(
        "mteb", folder, [case.language], part=case.split, skip_malformed=case.skip
    )


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mteb")
    for case in CASES:
        case.write(root / case.name, root / f"{case.name}-mteb")
    return root


def score_with_mteb(requests: Sequence[Row], place: Path) -> list[Row]:
    """What mteb makes of folders, without a network."""
    if not PEERS.exists() or subprocess.run([PEERS, "-c", "import mteb"], capture_output=True,
                                            check=False).returncode:  # fmt: skip
        pytest.skip("the peers' environment is missing: make peers")
    given, written = place / "given.json", place / "written.json"
    given.write_text(json.dumps(requests), encoding="utf-8")
    offline = dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"), "1")
    home = {"HF_HOME": str(place / "hf"), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    script = ROOT / "tests" / "peers" / "score_mteb.py"
    done = subprocess.run(
        [PEERS, script, given, written],
        env=os.environ | offline | home,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    scores: list[Row] = json.loads(written.read_text(encoding="utf-8"))
    return scores


@pytest.fixture(scope="module")
def scored(folders: Path) -> dict[str, Row]:
    requests = [
        {
            "folder": str(folders / f"{case.name}{'-mteb' * case.twin}"),
            "split": case.split,
            "subset": case.subset,
        }
        for case in CASES
    ]
    answers = score_with_mteb(requests, folders)
    return {case.name: answer for case, answer in zip(CASES, answers, strict=True)}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_scores_are_those_of_mteb(case: Case, folders: Path, scored: dict[str, Row]) -> None:
    assert "error" not in scored[case.name], scored[case.name]["error"]
    benchmark = load(case, folders / case.name)
    evaluation = evaluate(benchmark, Hashed())
    assert evaluation.counts["ties/own"] == 0
    theirs = {ours: scored[case.name][name] for ours, name in METRICS.items()}
    assert {name: evaluation.metrics[f"{name}/mono/{case.language}"] for name in METRICS} == (
        pytest.approx(theirs, abs=1e-5)
    )
    assert len(set(theirs.values())) > 2, "scores that agree by being trivial"


@pytest.mark.slow
def test_a_query_with_no_gain_above_zero_is_left_out_here_and_scored_zero_by_mteb(
    tmp_path: Path,
) -> None:
    """The one known difference: the mean is over queries that can be answered."""
    beir_folder = tmp_path / "only-zeros"
    plain(only_zeros)(beir_folder, beir_folder)
    [theirs] = score_with_mteb(
        [{"folder": str(beir_folder), "split": "test", "subset": None}], tmp_path
    )
    evaluation = evaluate(load_benchmark("mteb", beir_folder, ["sw"]), Hashed())
    assert evaluation.counts["dropped/no relevant candidate"] == 3
    for ours, name in METRICS.items():
        mean = evaluation.metrics[f"{ours}/mono/sw"] * 9 / 12
        assert mean == pytest.approx(theirs[name], abs=1e-5)


@pytest.mark.parametrize("name", REFUSED)
def test_what_mteb_would_misread_is_refused(tmp_path: Path, name: str) -> None:
    write, _ = REFUSED[name]
    write(tmp_path / name, tmp_path / "twin")
    with pytest.raises(UserError):
        load_benchmark("mteb", tmp_path / name, ["sw"])
