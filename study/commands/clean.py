"""`clean`: remove what no study needs any more."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from study.commands.console import console as open_console
from study.commands.run import Root
from study.launch.session import remove_dead_sessions
from trainables.errors import UserError
from trainables.trial_folder import NotCommittedError, TrialFolder, read_json


def clean(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    weights: Annotated[bool, typer.Option(help="Also fine-tuned encoders.")] = False,
    root: Root = Path("runs"),
) -> int:
    """Remove temporary folders of dead drivers, damaged files set aside, and finished attempts.

    Results, plans, events, ledger and MLflow's database stay. Nothing is removed of a trial that
    is not committed: its checkpoint is what a later run goes on from.
    """
    console = open_console()
    if not root.is_dir():
        raise UserError(f"--root {root}: no such folder")
    total = 0
    sessions = remove_dead_sessions(root, dry_run=True)
    for path, why in [*((path, "a dead driver's") for path in sessions), *rubbish(root, weights)]:
        size = _size(path)
        total += size
        console.print(f"{size / 1e6:10.1f} MB  {escape(str(path))}  {why}")
        if not dry_run:
            _remove(path)
    verb = "would be freed" if dry_run else "freed"
    console.print(f"{total / 1e6:10.1f} MB  {verb}")
    return 0


def rubbish(root: Path, weights: bool) -> Iterator[tuple[Path, str]]:
    """Files and folders under a root that nothing reads again, and why."""
    for pattern in ("*.damaged-*", "studies/*/*.damaged-*", "trials/*/damaged"):
        yield from ((path, "was damaged and set aside") for path in sorted(root.glob(pattern)))
    for folder in map(TrialFolder, sorted(root.glob("trials/*"))):
        try:
            kept = folder.committed()
        except NotCommittedError:
            continue
        for attempt in sorted(folder.path.glob("attempts/*")):
            if attempt != kept:
                yield attempt, "an attempt that does not count"
        if (kept / "checkpoint").exists():
            yield kept / "checkpoint", "state of a finished training"
        if weights and (kept / "encoder").exists():
            names = read_json(folder.manifest_path).get("weights", {})
            yield kept / "encoder", f"a fine-tuned encoder, {len(names)} files"


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
