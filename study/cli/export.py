"""`export`: write a trial's fine-tuned encoder as a folder that other libraries load."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from study.analysis.results import COLUMNS
from study.cli.reproduce import find_trial, train_again
from study.cli.workspace import ROOT, Root, State, Workspace
from study.console import PlainConsole
from trainables.errors import UserError
from trainables.spec import Spec
from trainables.storage import atomic as storage
from trainables.trial.trial_folder import NotCommittedError, TrialFolder, read_json

CARD = """---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
base_model: {quoted}
language: {languages}
tags: [sentence-transformers, feature-extraction, hybrid-batch-training]
---

# {base}, fine-tuned: {sampling}{alpha}

One trial of a study of hybrid batch training (arXiv 2408.10536), named by the hash of everything
that decides its numbers: `{digest}`. `python -m study reproduce {digest}` trains it again.
It is one seed of one setting, made to be compared, and inherits the licences of its base
checkpoint and of its training data.

- **Texts to vectors**: {pooling} pooling, normalised; queries begin with {query!r}, passages with
  {passage!r}; at most {query_tokens} and {passage_tokens} tokens.
- **Training**: {steps} steps of {batch_size} pairs of {train}.
- **Evaluation** on {test} ({verdict} of what was trained on; same source: {same}):

{metrics}

<details><summary>The whole spec</summary>

```json
{spec}
```
</details>
"""


def export(
    digest: Annotated[str, typer.Argument(help="Of a trial, or its first digits.")],
    to: Annotated[Path, typer.Option(help="A folder that is not there yet, or empty.")],
    again: Annotated[
        bool, typer.Option("--again", help="Train it again where its weights were not kept.")
    ] = False,
    root: Root = ROOT,
    state: State = None,
) -> int:
    """Write a trial's encoder for transformers and sentence-transformers, with a model card."""
    console = PlainConsole()
    home = Workspace.open(root, state)
    folder = find_trial(home.root, digest)
    try:
        spec, weights = folder.spec(), folder.weights()
        result = folder.result()
    except NotCommittedError as error:
        raise UserError(f"{error}; only a committed trial can be exported") from None
    if not spec.steps:
        raise UserError(f"trial {spec.digest} trains nothing: its encoder is {spec.encoder.name}")
    if to.exists() and any(to.iterdir()):
        raise UserError(f"--to {to}: is not empty; name a new folder")
    if weights is None and not again:
        raise UserError(
            f"the weights of trial {spec.digest} were not kept (--keep all keeps those of all "
            "trials that run from then on); add --again to train it again and export that"
        )
    with tempfile.TemporaryDirectory(prefix="export-", ignore_cleanup_errors=True) as scratch:
        if weights is None:
            folder = _retrain(folder, spec, Path(scratch), home)
        attempt = folder.committed()
        for name in read_json(folder.manifest_path)["weights"]:  # no files added after the commit
            target = to / name.removeprefix("encoder/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(storage.read(attempt / name))
    (to / "README.md").write_text(card(spec, result), encoding="utf-8")
    console.print(f"{to}: SentenceTransformer({str(to)!r}) or AutoModel reads it.")
    return 0


def card(spec: Spec, result: dict[str, Any]) -> str:
    """Format the model card of a trial's encoder in Markdown."""
    metrics = [
        f"    {name:24} {result['metrics'][name]:.4f}"
        for name in COLUMNS
        if name in result["metrics"]
    ]
    zero_shot = result["zero_shot"]
    assert spec.train is not None
    return CARD.format(
        base=spec.encoder.name,
        quoted=json.dumps(spec.encoder.name),
        languages=json.dumps(list(spec.languages or ())),
        sampling=spec.sampling,
        alpha="" if spec.alpha is None else f" with mixing ratio {spec.alpha:g}",
        digest=spec.digest,
        pooling=spec.encoder.pooling,
        query=spec.encoder.query_prefix,
        passage=spec.encoder.passage_prefix,
        query_tokens=spec.encoder.max_query_tokens,
        passage_tokens=spec.encoder.max_passage_tokens,
        steps=spec.steps,
        batch_size=spec.batch_size,
        train=spec.train.name,
        test=spec.test.name,
        verdict=zero_shot["verdict"],
        same=zero_shot["same_source"],
        metrics="\n".join(metrics),
        spec=spec.model_dump_json(indent=1, exclude_none=True),
    )


def _retrain(folder: TrialFolder, spec: Spec, scratch: Path, home: Workspace) -> TrialFolder:
    """Train a trial again in `scratch` and require equal metrics.

    Raises:
        UserError: The metrics differ, or `scratch` had no room for the weights.
    """
    retrained = train_again(folder, spec, scratch, cache=home.cache, keep_weights=True)
    before, now = (read_json(f.committed() / "result.json") for f in (folder, retrained))
    if before["metrics"] != now["metrics"]:
        raise UserError(
            f"trial {spec.digest}, trained again, gives other numbers than were committed; "
            f"python -m study reproduce {spec.digest} says which and why"
        )
    if retrained.weights() is None:
        raise UserError(f"{scratch}: no room for the weights; free some space")
    return retrained
