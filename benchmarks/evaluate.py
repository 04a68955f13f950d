"""Evaluation of XQuAD-R from given vectors, against pytrec_eval and the bare matrix product.

`python benchmarks/evaluate.py` needs XQuAD-R's files (`--data-dir`, by default `xquad-r` in the
shared data) and the peers' environment (`make peers`). pytrec_eval judges `--peer-settings` of the
121 mono and cross settings, by default 11, and its time is extrapolated to 121; all of them take
several minutes. `--large` adds corpora of one and four million vectors, in files of 1.5 and 6 GB
under the folder for temporary files, and approximate indexes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np  # noqa: E402
import torch  # noqa: E402

from benchmarks.figures import Figure, figure, show  # noqa: E402
from trainables.data.benchmark import Benchmark  # noqa: E402
from trainables.data.catalog import load_benchmark  # noqa: E402
from trainables.encoders.encoder import Embeddings  # noqa: E402
from trainables.errors import UserError  # noqa: E402
from trainables.evaluation.evaluate import Evaluation, evaluate, evaluate_embeddings  # noqa: E402
from trainables.evaluation.index import Index, measured_recall, search  # noqa: E402
from trainables.evaluation.ranks import save_ranks  # noqa: E402
from trainables.evaluation.scoring import score  # noqa: E402

DIMENSION = 384

PEER = """
import json, sys, time
import numpy as np
import pytrec_eval
folder, settings = sys.argv[1], int(sys.argv[2])
vectors = np.load(folder + "/vectors.npz")
task = json.load(open(folder + "/task.json"))
measures = {"map", "recip_rank", "recall.1,10,100", "ndcg_cut.10"}
built = judged = done = 0
maps = {}
pairs = [(q, c) for q in task["queries"] for c in task["corpus"]][:settings]
for q, c in pairs:
    scores = vectors["q_" + q] @ vectors["p_" + c].T
    start = time.perf_counter()
    rows = zip(task["queries"][q], scores.tolist())
    run = {i: dict(zip(task["corpus"][c], row)) for i, row in rows}
    held = set(task["corpus"][c])
    qrels = {i: {d: 1 for d in task["qrels"][i] if d in held} for i in task["queries"][q]}
    middle = time.perf_counter()
    found = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(run)
    end = time.perf_counter()
    built, judged = built + middle - start, judged + end - middle
    maps[q + "-" + c] = float(np.mean([values["map"] for values in found.values()]))
print(json.dumps({"built": built, "judged": judged, "settings": len(pairs), "map": maps}))
"""


def main() -> None:
    """Measure, print a table, then one JSON object a figure."""
    arguments = parse()
    torch.set_num_threads(1)
    toy = load_benchmark("xquad_r", arguments.data_dir)
    figures = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        encoder = Planted(toy)
        result = evaluate(toy, encoder)
        figures.append(encoding_figure(toy, result))
        write_task(toy, encoder, folder)
        ours, product, result = our_seconds(toy, encoder, folder, arguments.repeats)
        figures.append(
            figure(
                "matrix product's own time",
                ours,
                product,
                product / ours,
                unit="s",
                goal="ratio >= 0.25",
            )
        )
        figures += peer_figures(arguments, folder, ours, result)
        figures.append(memory_figure(arguments, folder))
        if arguments.large:
            for size in (1_000_000, 4_000_000):
                figures += large_figures(size, folder)
            figures += [index_figure("hnsw", 128), index_figure("ivf", 16)]
    show(figures)


def parse() -> argparse.Namespace:
    """Parse the command line."""
    shared = Path(os.environ.get("SHARED") or ROOT.parent / "shared")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data-dir", type=Path, default=shared / "data" / "xquad-r")
    parser.add_argument("--repeats", type=int, default=3, help="the fastest counts")
    parser.add_argument("--peer-settings", type=int, default=11, metavar="N", help="of 121")
    parser.add_argument("--large", action="store_true", help="also 1 and 4 million vectors")
    parser.add_argument("--memory-of", type=Path, help=argparse.SUPPRESS)
    parser.add_argument(
        "--peer-python",
        type=Path,
        default=Path(os.environ.get("PEERS_PYTHON") or ROOT / ".peers" / "bin" / "python"),
    )
    arguments = parser.parse_args()
    if arguments.memory_of:
        measure_memory(arguments.data_dir, arguments.memory_of)
        sys.exit()
    return arguments


class Planted:
    """Encoder without cost: vectors are a meaning shared by translations, a language and noise."""

    def __init__(self, toy: Benchmark) -> None:
        """Draw a vector for every text."""
        rng = np.random.default_rng(0)
        asked = [query for items in toy.queries.values() for query in items]
        rows = {question: i for i, question in enumerate(dict.fromkeys(q.question for q in asked))}
        meaning = rng.standard_normal((len(rows), DIMENSION))
        own = {language: rng.standard_normal(DIMENSION) for language in toy.corpus}
        gold = {name: rows[query.question] for query in asked for name in toy.qrels[query.id]}
        self.queries = {
            language: unit(
                meaning[[rows[query.question] for query in items]]
                + 0.6 * own[language]
                + rng.standard_normal((len(items), DIMENSION))
            )
            for language, items in toy.queries.items()
        }
        self.passages = {
            language: unit(
                np.stack([meaning[gold[c.id]] if c.id in gold else 0 * meaning[0] for c in items])
                + 0.6 * own[language]
                + 1.5 * rng.standard_normal((len(items), DIMENSION))
            )
            for language, items in toy.corpus.items()
        }

    def encode_queries(self, texts: Sequence[str], language: str) -> Embeddings:
        """Return the language's first vectors; only their number matters."""
        return self.queries[language][: len(texts)]

    def encode_passages(self, texts: Sequence[str], language: str) -> Embeddings:
        """Return the language's first vectors."""
        return self.passages[language][: len(texts)]


def unit(vectors: np.ndarray) -> Embeddings:
    """Return float32 rows of length 1."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def encoding_figure(toy: Benchmark, result: Evaluation) -> Figure:
    """Compare the number of encoded texts with encoding each pair of languages separately."""
    ours = result.counts["encoded/queries"] + result.counts["encoded/passages"]
    pairs = sum(len(q) + len(c) for q in toy.queries.values() for c in toy.corpus.values())
    return figure(
        "texts encoded, peer: pair by pair",
        ours,
        pairs,
        pairs / ours,
        unit="texts",
        goal="ratio >= 10",
    )


def write_task(toy: Benchmark, encoder: Planted, folder: Path) -> None:
    """Write the input of the peer and of the memory measurement."""
    vectors: dict[str, Any] = {f"q_{la}": x for la, x in encoder.queries.items()}
    vectors |= {f"p_{la}": x for la, x in encoder.passages.items()}
    np.savez(folder / "vectors.npz", **vectors)
    task = {
        "queries": {la: [q.id for q in items] for la, items in toy.queries.items()},
        "corpus": {la: [c.id for c in items] for la, items in toy.corpus.items()},
        "qrels": {query: list(gains) for query, gains in toy.qrels.items()},
    }
    (folder / "task.json").write_text(json.dumps(task))


def our_seconds(
    toy: Benchmark, encoder: Planted, folder: Path, repeats: int
) -> tuple[float, float, Evaluation]:
    """Time evaluation (settings, bias, stored ranks) and the matrix product, best of several."""
    result = evaluate_embeddings(toy, encoder.queries, encoder.passages)

    def whole() -> None:
        result = evaluate_embeddings(toy, encoder.queries, encoder.passages)
        save_ranks(result.ranks, folder / "ranks.npz")

    queries = torch.from_numpy(np.concatenate(list(encoder.queries.values())))
    pool = torch.from_numpy(np.concatenate(list(encoder.passages.values())))
    block = torch.empty(128, len(pool))

    def product() -> None:
        for begin in range(0, len(queries), len(block)):
            part = queries[begin : begin + len(block)]
            torch.mm(part, pool.T, out=block[: len(part)])

    times = [(seconds(whole), seconds(product)) for _ in range(repeats)]
    return min(a for a, _ in times), min(b for _, b in times), result


def seconds(work: Callable[[], object]) -> float:
    """Return the wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def peer_figures(
    arguments: argparse.Namespace, folder: Path, ours: float, result: Evaluation
) -> list[Figure]:
    """Time pytrec_eval in a fresh process, building its dictionaries and evaluating separately."""
    if not arguments.peer_python.exists():
        raise UserError(f"no peers at {arguments.peer_python}; run make peers or --peer-python")
    done = subprocess.run(
        [arguments.peer_python, "-c", PEER, folder, str(arguments.peer_settings)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    if done.returncode:
        raise UserError(f"the peer failed: {done.stderr.strip().splitlines()[-1]}")
    peer = json.loads(done.stdout)
    times = 121 / peer["settings"]
    note = "" if times == 1 else f" (measured on {peer['settings']} of 121, scaled)"
    judged, whole = peer["judged"] * times, (peer["judged"] + peer["built"]) * times
    off = max(
        abs(result.metrics[setting_name(pair)] - value) for pair, value in peer["map"].items()
    )
    return [
        figure(
            f"pytrec_eval, 121 settings{note}",
            ours,
            whole,
            whole / ours,
            unit="s",
            goal="ratio >= 20",
        ),
        figure(
            f"pytrec_eval without its dictionaries{note}",
            ours,
            judged,
            judged / ours,
            unit="s",
            goal="ratio >= 1",
        ),
        figure(
            "largest difference of mAP from pytrec_eval", off, 0, 1, unit="mAP", goal="ours <= 1e-6"
        ),
    ]


def setting_name(pair: str) -> str:
    """Return the setting of a pair of languages: `de-de` is mono."""
    query, corpus = pair.split("-")
    return f"map/mono/{query}" if query == corpus else f"map/cross/{pair}"


def memory_figure(arguments: argparse.Namespace, folder: Path) -> Figure:
    """Measure peak memory above that of vectors and libraries, in a fresh process."""
    command = [sys.executable, __file__, "--memory-of", folder, "--data-dir", arguments.data_dir]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    extra = float(done.stdout)
    return figure("peak extra memory", extra, 600, 600 / extra, unit="MB", goal="ours <= 600")


def measure_memory(data: Path, folder: Path) -> None:
    """Run in the fresh process of `memory_figure`."""
    torch.set_num_threads(1)
    toy = load_benchmark("xquad_r", data)
    vectors = np.load(folder / "vectors.npz")
    queries = {la: vectors[f"q_{la}"] for la in toy.queries}
    passages = {la: vectors[f"p_{la}"] for la in toy.corpus}

    def work() -> None:
        save_ranks(evaluate_embeddings(toy, queries, passages).ranks, folder / "memory.npz")

    print(peak_anonymous(work))


def peak_anonymous(work: Callable[[], None]) -> float:
    """Return the peak growth of anonymous memory in MB, sampled every 2 ms."""
    before, peak, done = anonymous(), 0.0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, anonymous())

    watcher = threading.Thread(target=watch)
    watcher.start()
    work()
    done.set()
    watcher.join()
    return max(peak, anonymous()) - before


def anonymous() -> float:
    """Return this process's anonymous memory in MB, without shared libraries and mapped files."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    raise UserError("no RssAnon in /proc/self/status: memory is measured on Linux only")


def large_figures(size: int, folder: Path) -> list[Figure]:
    """Rank 1,000 queries on a memory-mapped corpus: ranks by counting, and the top 100."""
    path = folder / "corpus.npy"
    rng = np.random.default_rng(size)
    made = np.lib.format.open_memmap(path, "w+", np.float32, (size, DIMENSION))
    for begin in range(0, size, 50_000):
        made[begin : begin + 50_000] = rng.standard_normal((50_000, DIMENSION), dtype=np.float32)
    made.flush()
    del made
    corpus = np.load(path, mmap_mode="r")
    queries = rng.standard_normal((1000, DIMENSION), dtype=np.float32)
    relevant = np.sort(rng.integers(0, size, (1000, 2)), axis=1).ravel()
    starts = np.arange(0, 2001, 2, dtype=np.int32)
    work: dict[str, Callable[[], object]] = {
        "exact ranks": lambda: score(queries, [corpus], starts, relevant),
        "first 100 (FAISS, exact)": lambda: search(queries, corpus, 100),
    }
    figures = []
    for what, task in work.items():
        took: list[float] = []
        extra = peak_anonymous(lambda task=task, took=took: took.append(seconds(task)))  # type: ignore[misc]
        name = f"anonymous memory, {what} of {size:,} vectors, {took[0]:.0f} s"
        figures.append(figure(name, extra, 1000, 1000 / extra, unit="MB", goal="ours <= 1000"))
    path.unlink()
    return figures


def index_figure(kind: Literal["hnsw", "ivf"], effort: int) -> Figure:
    """Compare an approximate index of 50,000 vectors with exact search: build, search, recall.

    The vectors lie in 2,000 clusters, because uniformly random ones have no near neighbours.
    """
    rng = np.random.default_rng(0)
    middles = rng.standard_normal((2000, DIMENSION), dtype=np.float32)

    def drawn(size: int) -> Embeddings:
        noise = rng.standard_normal((size, DIMENSION), dtype=np.float32)
        return unit(middles[rng.integers(0, len(middles), size)] + noise)

    corpus, queries = drawn(50_000), drawn(1000)
    exact = seconds(lambda: search(queries, corpus, 100))
    start = time.perf_counter()
    _, scores = search(queries, corpus, 100, Index(kind, effort))
    ours = time.perf_counter() - start
    recall = measured_recall(queries, corpus, 100, scores)
    name = f"{kind} of effort {effort}, 50,000 vectors, recall {recall:.3f}; peer: exact"
    return figure(name, ours, exact, exact / ours, unit="s", goal="ratio >= 0")


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
