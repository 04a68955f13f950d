"""`clean`: remove files that no study needs any more."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from study.cli.workspace import ROOT, Root, State, Workspace
from study.console import PlainConsole
from study.launch.session import remove_dead_sessions
from study.tracking.mlflow_storage import UNFINISHED
from trainables.errors import UserError
from trainables.storage import paths as places
from trainables.storage.paths import AnyPath
from trainables.trial.trial_folder import NotCommittedError, TrialFolder, read_json


def clean(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    weights: Annotated[bool, typer.Option(help="Also fine-tuned encoders.")] = False,
    root: Root = ROOT,
    state: State = None,
) -> int:
    """Remove what dead drivers left, damaged files set aside, finished attempts and the cache.

    Results, plans, journals and both databases stay, and what running trials use of the cache.
    Nothing is removed of a trial that is not committed: its checkpoint is what a later run goes on
    from.
    """
    console = PlainConsole()
    home = Workspace.open(root, state)
    if isinstance(home.root, Path) and not os.path.isdir(home.root):
        raise UserError(f"--root {root}: no such folder")
    total = 0

    def tell(size: int, path: AnyPath, why: str) -> int:
        console.print(f"{size / 1e6:10.1f} MB  {path}  {why}")
        return size

    for path, why in (*_left_behind(home), *rubbish(home.root, weights)):
        total += tell(places.size(path), path, why)
        if not dry_run:
            places.remove(path)
    for entry in home.cache.entries():
        if home.cache.remove(entry.name, dry_run):
            total += tell(entry.size, home.cache.folder / entry.name, "can be made again")
    verb = "would be freed" if dry_run else "freed"
    console.print(f"{total / 1e6:10.1f} MB  {verb}")
    return 0


def rubbish(root: AnyPath, weights: bool) -> Iterator[tuple[AnyPath, str]]:
    """Yield what nothing reads again under a root, and encoders with `weights`; and the reason."""
    for pattern in ("*.damaged-*", "studies/*/*.damaged-*", "trials/*/damaged"):
        for path in places.matching(root, pattern):
            if not places.leads_elsewhere(path.parent):
                yield path, "was damaged and set aside"
    for folder in map(TrialFolder, places.matching(root, "trials/*")):
        try:
            current = folder.committed()
        except NotCommittedError:
            continue
        for attempt in folder.attempts():
            if attempt.path != current:
                yield attempt.path, "an attempt that does not count"
        if (current / "checkpoint").exists():
            yield current / "checkpoint", "state of a finished training"
        if weights and (current / "encoder").exists():
            names = read_json(folder.manifest_path).get("weights", {})
            yield current / "encoder", f"a fine-tuned encoder, {len(names)} files"


def _left_behind(home: Workspace) -> Iterator[tuple[AnyPath, str]]:
    """Yield files and folders of the state folder that nothing reads again, with the reason."""
    yield from (
        (path, "a dead driver's") for path in remove_dead_sessions(home.state, dry_run=True)
    )
    unfinished = places.matching(home.state, f"{UNFINISHED}*")
    yield from ((path, "a store that was never finished") for path in unfinished)
    if home.state != home.root:
        aside = places.matching(home.state, "*.damaged-*")
        yield from ((path, "was damaged and set aside") for path in aside)
