"""`reproduce`: run one trial again, alone, and compare it with its committed result."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from study.cli.arguments import DataDir
from study.cli.workspace import ROOT, Root, Workspace
from study.console import PlainConsole, marked
from trainables.errors import NotNowError, UserError
from trainables.failures import TrialFailedError
from trainables.spec import Execution, Spec
from trainables.storage.cache import Cache
from trainables.storage.paths import AnyPath, matching, name_of_folder
from trainables.trial.trial_folder import NotCommittedError, TrialFolder, read_json

if TYPE_CHECKING:
    from trainables.trial.intermediate import IntermediateEvaluation


def reproduce(
    digest: Annotated[str, typer.Argument(help="Of a trial, or its first digits.")],
    data_dir: DataDir = None,
    encoder: Annotated[Path | None, typer.Option(help="Folder of the checkpoint.")] = None,
    root: Root = ROOT,
) -> int:
    """Run one trial again without Ray, in its recorded execution, and compare every number.

    Exit code 0: all numbers and ranks are equal to the last digit; 1: some differ.
    """
    console = PlainConsole()
    folder = find_trial(Workspace.open(root).root, digest)
    try:
        spec = folder.spec()
    except NotCommittedError as error:
        raise UserError(f"{error}; it cannot be reproduced from this root") from None
    from trainables.trial.intermediate import intermediate_evaluations  # imports torch

    before, rungs_before = _committed(folder), intermediate_evaluations(folder)
    given = [(spec.encoder.digest, encoder), *((digest, data_dir) for digest in _data(spec))]
    places = {ref: os.path.realpath(os.path.expanduser(path)) for ref, path in given if path}
    console.print(f"Reproducing {spec.digest}; {spec.steps} steps.")
    temporary = tempfile.TemporaryDirectory(prefix="reproduce-", ignore_cleanup_errors=True)
    try:
        with temporary as scratch:
            retrained = train_again(folder, spec, Path(scratch), places)
            now, rungs_now = _committed(retrained), intermediate_evaluations(retrained)
    except TrialFailedError as failure:
        if failure.reason == "not now":
            raise NotNowError(f"trial {digest} cannot go on now: {failure}") from None
        console.print(marked("failed", f" again, {failure.reason}: {failure}", "red"))
        return 1
    assert now is not None
    if before is None:
        console.print("It had no committed result to compare with; these are its numbers:")
        console.print_json(json.dumps(now["result"]["metrics"]))
        lines = other_rungs(rungs_before, rungs_now)
        for line in lines:
            console.print(line)
        if rungs_before and not lines:
            console.print(f"At {len(rungs_before)} rungs it is as it was, to the last digit.")
        return 1 if lines else 0
    lines = differences(before, now)
    for line in lines:
        console.print(line)
    if not lines:
        console.print("Every number and every rank is equal, to the last digit.")
    return 1 if lines else 0


def train_again(
    folder: TrialFolder,
    spec: Spec,
    scratch: Path,
    places: Mapping[str, str] | None = None,
    *,
    cache: Cache | None = None,
    keep_weights: bool = False,
) -> TrialFolder:
    """Run a trial again, alone, in the execution that its result recorded.

    Args:
        folder: Folder of the trial.
        spec: Spec of the trial.
        scratch: Folder in which the new trial folder is created.
        places: Present folders of data and checkpoint by digest, if not those of the last attempt.
        cache: Cache that `finetune` uses.
        keep_weights: Whether to keep the fine-tuned encoder in the new folder.

    Returns:
        The new trial folder.

    Raises:
        TrialFailedError: The trial failed this time.
    """
    from trainables.finetune import finetune
    from trainables.trial.intermediate import intermediate_evaluations

    before = _committed(folder)
    execution = Execution(**before["result"]["execution"]) if before else Execution()
    again = TrialFolder.of(scratch, spec.digest)
    for _ in finetune(
        spec,
        again,
        places=_places(folder) | dict(places or {}),
        execution=execution,
        keep_weights=keep_weights,
        cache=cache,
        rungs=[rung.examples for rung in intermediate_evaluations(folder).values()],
    ):
        pass
    return again


def find_trial(root: AnyPath, digest: str) -> TrialFolder:
    """Find the only trial whose digest begins with `digest`.

    Raises:
        UserError: No trial or several; folders not named by a whole digest do not count.
    """
    name_of_folder(digest, "digest")
    begin = digest if re.fullmatch("[0-9a-f]+", digest) else "-"
    matches = [
        path
        for path in matching(root, f"trials/{begin}*/spec.json")
        if re.fullmatch("[0-9a-f]{20}", path.parent.name)
    ]
    if len(matches) != 1:
        names = ", ".join(path.parent.name for path in matches[:5])
        problem = f"{len(matches)} trials begin so: {names}, …" if matches else "no such trial"
        raise UserError(
            f"digest {digest!r}: {problem} under {root} (--root chooses); "
            "python -m study status NAME --json lists the digests of a study"
        )
    return TrialFolder(matches[0].parent)


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """List differing metrics and ranks, one line each; if any, also changed library versions."""
    lines = []
    for part in ("metrics", "validation"):
        old, new = before["result"][part], now["result"][part]
        changed = [k for k in old.keys() | new.keys() if old.get(k) != new.get(k)]
        if changed:
            gap = max(abs(old.get(k, 0.0) - new.get(k, 0.0)) for k in changed)
            lines.append(
                f"{part}: {len(changed)} of {len(old)} numbers differ, by up to {gap:.3g}; "
                f"first {sorted(changed)[0]}"
            )
    ranks = [name for name, digest in before["ranks"].items() if now["ranks"].get(name) != digest]
    lines += [f"{name}: other ranks" for name in ranks]
    if lines:
        for name, version in before["versions"].items():
            if (installed := importlib.metadata.version(name)) != version:
                lines.append(f"{name} was {version}, is {installed}")
    return lines


def other_rungs(
    before: Mapping[int, IntermediateEvaluation], now: Mapping[int, IntermediateEvaluation]
) -> list[str]:
    """List the rungs whose metrics differ or are missing now, one line each, by step."""
    return [
        f"after {rung.examples} examples: other numbers on the validation benchmark"
        for step, rung in before.items()
        if step not in now or now[step].metrics != rung.metrics
    ]


def _committed(folder: TrialFolder) -> dict[str, Any] | None:
    """Read result, checksums of ranks and library versions; None without a commit."""
    try:
        path = folder.committed()
        manifest = read_json(folder.manifest_path)["files"]
        return {
            "result": read_json(path / "result.json"),
            "ranks": {name: d for name, d in manifest.items() if name.startswith("ranks-")},
            "versions": read_json(path / "environment.json").get("versions", {}),
        }
    except NotCommittedError:
        return None


def _places(folder: TrialFolder) -> dict[str, str]:
    """Return the local folders of the inputs, by digest, from the last attempt that has them."""
    for attempt in folder.attempts():
        if isinstance(places := attempt.claimed_by().get("places"), dict):
            return places
    return {}


def _data(spec: Any) -> list[str]:
    refs = (spec.test, *(spec.test.without or ()), spec.validation, spec.train)
    return [ref.digest for ref in refs if ref is not None]
