"""Damaged and hostile files of every kind, given to what reads them.

    python -m tests.attacks.fuzz [INPUTS] [SEED] [KIND...]

Each input is a good file with one to three mutations: bytes flipped, cut out, doubled or put in,
and in JSON and YAML values of another type, numbers far too large, deep nesting, odd characters,
keys that are missing. Only the project's own errors may come of it (`ALLOWED`), within `SECONDS`,
and nothing may be written outside of the temporary folder.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import yaml
from PIL import Image

from study.cli.app import main
from study.launch import launch as launcher
from study.planning.build import make_plan
from study.search.budget import spent
from study.spaces.schema import FOLDER, load_space
from study.state.study_folder import StudyFolder
from study.tracking import Delivered
from tests import sentence_folders
from tests.checkpoints import make_checkpoint
from tests.samples import values
from tests.study.inline import SPACE, launch_inline, write_space
from tests.trainables.data import test_absent_languages as sources
from tests.trainables.data.samples import write_lines
from trainables.data.catalog import load_benchmark, load_training, reference
from trainables.data.formats.images import check_pictures, open_picture
from trainables.data.pictures import Picture
from trainables.data.sources.xor_tydi import read_answers
from trainables.encoders import registry as encoders
from trainables.encoders.encoder import Embeddings
from trainables.errors import UserError
from trainables.evaluation.vector_store import VectorStore
from trainables.spec import Execution, build_spec
from trainables.storage import atomic as storage
from trainables.storage import inputs
from trainables.storage.cache import Cache
from trainables.training.tokens import Row, tokenised
from trainables.trial.checkpoint import latest_checkpoint, save_checkpoint
from trainables.trial.trial_folder import NotCommittedError, TrialFolder

Load = Callable[..., object]

ALLOWED = (UserError, NotCommittedError)

SECONDS = 30
"""That one input may take; most take milliseconds."""

MEMORY = 12 * 2**30
"""Of addresses that the process may have: half are taken by libraries that are mapped."""

SEARCH = (
    SPACE.partition("hypotheses:")[0].replace("steps: 3", "steps: 9")
    + "optimize:\n  sampler: random\n  trials: 3\n"
    + "  fidelity: {kind: asha, first: 24}\n"
    + "tiers:\n  demo: {fixed: {learning_rate: 0.005}}\n  full: {}\n"
)
"""A search, for the files that only a search has."""

VALUES: list[Any] = [
    *(None, True, -1, 0, 1.5, 10**30, 10**400, 1e308, float("nan"), float("inf"), -0.0),
    *("", " ", "\0", "\ud800", "\u202e", "../../../x", "/etc/passwd", "x" * 5000, "[/b]", "1e999"),
    *("NaN", "9" * 5000, "\x1b]0;x\x07", "2026-13-45", "e\u0301", "\U0010ffff"),
    *([], {}, [[]], [None], [1, "x"], {"": None}, {"a": {"b": []}}),
]

PIECES = [
    *(b"", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"[" * 5000, b'{"a":' * 5000),
    *(b"9" * 5000, b"1e999", b"NaN", b"-Infinity", b'"', b"\\", b"\n", b"\r", b"\t", b"\x1b[2J"),
    *(b"&a [*a]", b"*a", b"!!python/none", b"<<: *a", b": ", b"- ", b"\xe2\x80\xa8", b"null"),
]


def damaged(content: bytes, chance: random.Random) -> bytes:
    """The content with one to three mutations."""
    for _ in range(chance.choice((1, 1, 2, 3))):
        content = chance.choice((_bytes, _bytes, _document, _lines))(content, chance)
    return content


def _bytes(content: bytes, chance: random.Random) -> bytes:
    here, there = sorted(chance.randrange(len(content) + 1) for _ in range(2))
    there = min(there, here + 200)
    return chance.choice(
        (
            lambda: content[:here],
            lambda: content[:here] + content[there:],
            lambda: content[:there] + content[here:],
            lambda: content[:here] + chance.choice(PIECES) + content[here:],
            lambda: content[:here] + chance.choice(PIECES) + content[there:],
            lambda: content[:here] + chance.randbytes(chance.randint(1, 8)) + content[here + 1 :],
        )
    )()


def _document(content: bytes, chance: random.Random) -> bytes:
    """Of JSON, a value changed, removed or moved, and its seal written anew."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return _bytes(content, chance)
    sealed = isinstance(value, dict) and value.pop(storage.SEAL, None) is not None
    if not isinstance(value, (dict, list)) or not value:
        return content
    _change(value, chance)
    written = json.dumps(value, indent=1, sort_keys=sealed).encode()
    return storage.seal_lines(written + b"\n") if sealed else written


def _lines(content: bytes, chance: random.Random) -> bytes:
    """Of JSON Lines, one line changed, doubled or removed."""
    lines = content.splitlines(keepends=True)
    if len(lines) < 2:
        return _document(content, chance)
    number = chance.randrange(len(lines))
    line = lines[number]
    lines[number : number + 1] = chance.choice(
        ([], [line, line], [_document(line.strip(), chance) + b"\n"] * chance.randint(1, 2))
    )
    return b"".join(lines)


def _change(value: Any, chance: random.Random) -> None:
    """Change a part of a document, anywhere in it."""
    places: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        each = waiting.pop()
        keys = list(each) if isinstance(each, dict) else range(len(each))
        for key in keys:
            places.append((each, key))
            if isinstance(each[key], (dict, list)):
                waiting.append(each[key])
    holder, key = chance.choice(places)
    kind = chance.randrange(5)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[str(chance.choice(VALUES))] = holder.pop(key)
    elif kind == 2:
        other, another = chance.choice(places)
        holder[key] = json.loads(json.dumps(other[another]))
    elif kind == 3 and isinstance(holder[key], (int, float)):
        holder[key] = chance.choice((-1, 0, 2, 10**9, 2**31, 2**63, 10**400, -(10**30), 0.1, "1"))
    else:
        holder[key] = chance.choice(VALUES)


@dataclass
class Target:
    """Good files, and what reads them."""

    folder: Path
    read: Callable[[], object]
    files: list[Path] = field(default_factory=list)
    before: Callable[[Path], None] = lambda _: None

    def __post_init__(self) -> None:
        self.files = self.files or sorted(p for p in self.folder.rglob("*") if p.is_file())

    def once(self, chance: random.Random) -> None:
        """Read with one file damaged, and mend it."""
        path = chance.choice(self.files)
        content = path.read_bytes()
        packed = path.suffix == ".gz" and chance.random() < 0.8
        bad = damaged(gzip.decompress(content) if packed else content, chance)
        try:
            path.write_bytes(gzip.compress(bad) if packed else bad)
            self.before(path)
            self.read()
        finally:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def targets(work: Path, kinds: list[str]) -> dict[str, list[Target]]:
    """All kinds of inputs, or those that are named."""
    made = {
        "space": _spaces,
        "study": _studies,
        "data": _data,
        "checkpoint": _checkpoints,
        "picture": _pictures,
        "kept": _kept,
    }
    return {kind: list(made[kind](work / kind)) for kind in kinds or made}


def _spaces(work: Path) -> Iterator[Target]:
    texts = [SPACE, SEARCH, *(path.read_text() for path in sorted(FOLDER.glob("*.yaml")))]
    texts += [json.dumps(yaml.safe_load(text), indent=1) for text in texts]  # YAML too
    for number, text in enumerate(texts):
        folder = work / str(number)
        folder.mkdir(parents=True)
        yield Target(folder, partial(_plan, write_space(folder, text)))


def _plan(path: Path) -> None:
    space = load_space(str(path))
    for tier in space.tiers:
        make_plan(
            space,
            str(path),
            tier,
            {},
            missing={},
            optimize=space.for_tier(tier).optimize,
            data_dir=None,
        )


def _studies(work: Path) -> Iterator[Target]:
    """Every file of a study and its trials, read by functions and by commands."""
    before, launcher.launch = launcher.launch, launch_inline
    try:
        for name, text in (("s", SPACE), ("t", SEARCH)):
            root = work / name
            root.mkdir(parents=True)
            space = write_space(work, text)
            words = ["run", "--space", str(space), "--root", str(root), "--name", name]
            assert _quietly(words) == 0, f"study {name} did not end well"
            keep = [p for p in sorted(root.glob("studies/*/*")) if p.suffix in (".json", ".jsonl")]
            keep += sorted(root.glob(f"studies/{name}/journal/*.jsonl"))
            keep += sorted(root.glob("trials/*/*.json"))
            attempts = sorted(root.glob("trials/*/attempts/*/*.json*"))
            attempts += sorted(root.glob("trials/*/attempts/*/*.npz"))
            assert attempts
            keep += attempts
            yield Target(root, partial(_study_files, root, name), keep, _commit_again)
            keep += sorted(root.glob("reports/*/*.json")) + sorted(root.glob("reports/*/*.md"))
            for command in ("status", "report", "export"):
                where = ["--json"] if command == "status" else []
                words = [command, name, "--root", str(root), *where]
                yield Target(root, partial(_command, words), keep, partial(_written_again, root))
    finally:
        launcher.launch = before


def _written_again(root: Path, path: Path) -> None:
    """As `_commit_again`; and reports are written anew."""
    _commit_again(path)
    for made in root.glob("reports/*/made.json"):
        if made != path:
            made.write_text("{}")


def _commit_again(path: Path) -> None:
    """A stranger's result fits its manifest: its checksum is written anew."""
    manifest = path.parents[2] / "manifest.json"
    with contextlib.suppress(Exception):
        value = storage.unseal(manifest.read_bytes())
        if path.name in value["files"] and path.parent.parent.name == "attempts":
            value["files"][path.name] = storage.sha256(path)
            manifest.write_bytes(storage.seal(value))


def _study_files(root: Path, name: str) -> None:
    folder = StudyFolder.of(root, name)
    spent(folder.record().times)
    delivered = Delivered(folder.local / "tracked.jsonl", f"sqlite:///{root}/mlflow.db")
    readers: list[Callable[[], object]] = [folder.plan, folder.identity, delivered.read]
    for path in sorted(root.glob("trials/*")):
        trial = TrialFolder(path)
        readers += [trial.result, trial.spec, trial.attempts]
        readers += [each.failure for each in trial.attempts()]
        readers += [each.claimed_by for each in trial.attempts()]
    for read in readers:
        with contextlib.suppress(*ALLOWED):
            read()


def _command(words: list[str]) -> None:
    code = _quietly(words)
    assert code in (0, 1, 2, 130), f"{words[0]}: exit code {code}"


def _quietly(words: list[str]) -> int:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return main(words)


def _data(work: Path) -> Iterator[Target]:
    for name, (make, language, _) in sources.SOURCES.items():
        folder = work / name
        folder.mkdir(parents=True)
        make(folder)
        loaders = _loaders(name, folder, language)
        for skip in (False, True):
            yield Target(folder, partial(_load, name, folder, language, loaders, skip))
    folder = work / "hub"
    for table, row in {
        "sw-corpus": {"_id": "d1", "title": "T", "text": "one"},
        "sw-queries": {"_id": "q1", "text": "which"},
        "sw-qrels": {"query-id": "q1", "corpus-id": "d1", "score": 1},
    }.items():
        path = folder / table / "test-00000-of-00001.parquet"
        path.parent.mkdir(parents=True)
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), path)
    yield Target(folder, partial(_load, "mteb", folder, "sw", [load_benchmark], False))
    folder = work / "answers"
    folder.mkdir()
    write_lines(folder / "a.jsonl", [{"id": "1", "lang": "ja", "answers": ["One", "1"]}])
    yield Target(folder, partial(read_answers, folder / "a.jsonl"))


def _loaders(name: str, folder: Path, language: str) -> list[Load]:
    """What reads these files where nothing is wrong with them."""
    good: list[Load] = []
    for load in (load_benchmark, load_training):
        with contextlib.suppress(UserError):
            load(name, folder, [language])
            good.append(load)
    assert good, name
    return good


def _load(name: str, folder: Path, language: str, loaders: list[Load], skip: bool) -> None:
    with contextlib.suppress(*ALLOWED):
        reference(name, folder, skip_malformed=skip)
    for load in loaders:
        load(name, folder, [language], skip_malformed=skip)


def _checkpoints(work: Path) -> Iterator[Target]:
    kinds: list[Callable[[Path], Path]] = [
        *(partial(make_checkpoint, kind) for kind in ("bert", "labse", "xlm-roberta")),
        partial(
            sentence_folders.make,
            layers=[sentence_folders.dense(16, 12), sentence_folders.NORMALIZE],
            settings={"prompts": {"query": "q: "}, "default_prompt_name": None},
        ),
    ]
    for number, make in enumerate(kinds):
        folder = work / str(number)
        make(folder)
        yield Target(folder, partial(_encode, folder))


def _encode(folder: Path) -> None:
    ref, place = encoders.reference(str(folder), "xquad", {})
    encoder = encoders.open_encoder(ref, "xquad", {ref.digest: str(place)}, Execution())
    encoder.eval()


def _pictures(work: Path) -> Iterator[Target]:
    work.mkdir(parents=True)
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"):
        path = work / f"1.{kind.lower()}"
        Image.effect_noise((24, 16), 60).convert("RGB").save(path, kind)
        yield Target(work, partial(_look, path), [path])


def _look(path: Path) -> None:
    picture = Picture("1", path.read_bytes(), str(path))
    with contextlib.suppress(UserError):
        check_pictures([picture], "x")
    open_picture(picture)


def _kept(work: Path) -> Iterator[Target]:
    """What is kept between trials: entries of the cache, inputs under a root, checkpoints."""
    texts, source, digest = ["ab", "c", "ab"], work / "source", "a" * 20

    def split(some: Sequence[str]) -> list[Row]:
        return [np.array([*text.encode()], np.int32) for text in some]

    def cached() -> None:
        cache = Cache(work / "cache")
        rows = tokenised(texts, split, "t", "query", cache)
        assert [bytes(row.tolist()).decode() for row in rows] == texts
        held, _ = VectorStore(cache, "e").vectors(Collapsed(), texts, "en", "queries")
        assert held.tolist() == [[1.0, 0.0]] * 3

    def fetched() -> None:
        with tempfile.TemporaryDirectory(dir=work) as folder:
            place = Path(inputs.fetched(work / "root", digest, Cache(Path(folder))))
            assert (place / "a.jsonl").read_bytes() == (source / "a.jsonl").read_bytes()

    cached()
    yield Target(work / "cache", cached)
    source.mkdir()
    write_lines(source / "a.jsonl", [{"id": "1"}])
    inputs.publish(work / "root", digest, str(source))
    yield Target(work / "root/inputs", fetched)
    spec = build_spec(values())
    attempt = TrialFolder.of(work, spec.digest).claim(spec, {})
    save_checkpoint(attempt, {"step": 3, "execution": Execution().to_json()})
    yield Target(
        Path(str(attempt.path)) / "checkpoint",
        lambda: latest_checkpoint(attempt.trial, lambda execution: True),
        before=_sign_again,
    )


def _sign_again(path: Path) -> None:
    """A stranger's checkpoint fits its manifest."""
    manifest = path.with_name("manifest.json")
    if path != manifest:
        facts = storage.unseal(manifest.read_bytes()) | {"sha256": storage.sha256(path)}
        manifest.write_bytes(storage.seal(facts))


class Collapsed:
    """An encoder of one vector."""

    def encode_queries(self, texts: Sequence[str], language: str) -> Embeddings:
        return np.array([[1, 0]] * len(texts), np.float32)

    encode_passages = encode_queries


class Outside:
    """What is written outside of a folder, as Python's audit events tell."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder.resolve())
        self.touched: list[str] = []
        self.watching = True
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.watching:
            return
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                self._see(path)
        elif event in ("os.mkdir", "os.remove", "os.rmdir", "os.truncate"):
            self._see(arguments[0])
        elif event in ("os.rename", "os.link", "os.symlink"):
            self._see(arguments[1])
        elif event in ("os.system", "subprocess.Popen", "os.exec", "socket.connect"):
            self.touched.append(f"{event} {arguments[0]!r}")

    def _see(self, path: object) -> None:
        if isinstance(path, (str, bytes, os.PathLike)) and os.fspath(path) != os.devnull:
            whole = os.path.realpath(os.fsdecode(path))
            if not whole.startswith(self.folder) and "__pycache__" not in whole:
                self.touched.append(whole)


@dataclass
class Outcome:
    """What came of a run."""

    inputs: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    touched: list[str] = field(default_factory=list)
    seconds: float = 0.0


def fuzz(inputs: int, seed: int, kinds: list[str]) -> Outcome:
    """Give so many inputs to the readers, each kind in turn."""
    outcome = Outcome()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    chance = random.Random(seed)

    def too_long(*_: object) -> None:
        raise AssertionError(f"took more than {SECONDS} s")

    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        tempfile.tempdir = folder
        made = targets(Path(folder).resolve(), kinds)
        for each in (each for several in made.values() for each in several):
            each.read()  # good as it is; and what is imported and made once
        outside = Outside(Path(folder))
        signal.signal(signal.SIGALRM, too_long)
        began = time.monotonic()
        for number in range(inputs):
            kind = list(made)[number % len(made)]
            state = chance.getrandbits(64)
            outcome.inputs[kind] += 1
            try:
                signal.alarm(SECONDS)
                chance.choice(made[kind]).once(random.Random(state))
            except ALLOWED:
                outcome.refused[kind] += 1
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                outcome.faults.append(
                    f"{kind} input {number}: {type(error).__name__}: {str(error)[:200]}\n"
                    + "".join(traceback.format_tb(error.__traceback__)[-4:])
                )
            finally:
                signal.alarm(0)
        outcome.seconds = time.monotonic() - began
        outside.watching = False
        outcome.touched = sorted(set(outside.touched))
        tempfile.tempdir = None
    return outcome


if __name__ == "__main__":
    told = fuzz(
        int(sys.argv[1]) if sys.argv[1:] else 20_000,
        int(sys.argv[2]) if sys.argv[2:] else 0,
        sys.argv[3:],
    )
    by_place = Counter(fault.partition(": ")[2] for fault in told.faults)
    for fault, times in by_place.most_common():
        print(f"{times} times: {fault}")
    print(f"inputs {dict(told.inputs)}, refused {dict(told.refused)}, {told.seconds:.0f} s")
    print(f"{len(told.faults)} faults; touched outside: {told.touched[:20]}")
    sys.exit(1 if told.faults or told.touched else 0)
