"""`data`: list and describe sources, check their files, and fetch them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from study.cli.tables import listing
from study.console import PlainConsole, marked, typed
from trainables.data import catalog, inspect
from trainables.data.fetch import fetch as fetch_files
from trainables.data.source import Hub
from trainables.errors import UserError

app = typer.Typer(no_args_is_help=True, help="Sources of data: list, show, check, fetch.")

COLUMNS = ("name", "kind", "languages", "relevance judged in", "licence", "what it is")

Languages = Annotated[str | None, typer.Option(help="BCP-47 codes, such as sw,yo; all if unset.")]


@app.command("list")
def list_sources() -> int:
    """List every source, one a line."""
    rows = []
    for source in catalog.table().values():
        count = str(len(source.languages)) if source.languages else "of the files"
        rows.append(
            (source.name, source.kind, count, source.relevance, source.licence, source.about)
        )
    PlainConsole().print(listing(rows, COLUMNS))
    return 0


@app.command()
def show(name: Annotated[str, typer.Argument(help="Name of a source.")]) -> int:
    """Show all that is known of one source: licence, files, where to get them, what it can say."""
    source = catalog.source(name)
    facts = {
        "name": source.name,
        "what it is": source.about,
        "kind": source.kind,
        "modality": source.modality,
        "licence": source.licence,
        "reference": source.reference or "none",
        "citation": source.citation or "none",
        "languages": ", ".join(source.languages) or "of the files",
        "sizes": source.sizes,
        "relevance": f"judged in {source.relevance}",
        "it can show": source.can,
        "it cannot": source.cannot,
        "parts": ", ".join(source.parts) or ("of the files" if source.free_parts else "none"),
        "by default": f"evaluated {source.part or 'whole'}, trained on "
        f"{source.training_part or ('whole' if source.is_trainable else 'never')}",
        "files": "\n".join(source.layout) or "none: this project makes it",
        "from": "\n".join(_origins(source.name)) or "your own files",
    }
    if source.origins:
        facts["to get them"] = (
            f"python -m study data fetch {name} --to DIR, then --data-dir DIR; without a network, "
            f"fetch the files above elsewhere and put them in DIR/{name}"
        )
    PlainConsole().print(listing(facts.items()))
    return 0


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="Folder with a source's files.")],
    name: Annotated[str | None, typer.Option(help="Name of the source, else recognised.")] = None,
) -> int:
    """Say whether the files in a folder are whole: checksums and counts, as far as known.

    Exit 1 where something is malformed or differs from what is known.
    """
    console = PlainConsole()
    if not os.path.isdir(folder):
        raise UserError(f"{folder}: no such folder; name the one that holds a source's files")
    sources = [catalog.source(name)] if name else inspect.recognised(folder)
    if name and sources[0].embedded:
        raise UserError(f"{name} is made by this project: there are no files to check")
    if not sources:
        raise UserError(
            f"{folder}: no source has files like these; `python -m study data show NAME` says "
            "which files a source has, and --name NAME what is missing here"
        )
    bad = False
    for source in sources:
        console.print(marked(source.name, f": {source.about}", "bold"))
        findings = inspect.check(source, folder)
        for finding in findings:
            bad |= finding.state in ("differs", "malformed")
            state = "" if finding.state == "read" else f" {finding.state}:"
            console.print(f"  {finding.subject}:{state} {finding.detail}")
        # a named source without a single file fails too
        bad |= all(finding.state == "not at hand" for finding in findings)
    return 1 if bad else 0


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="Name of a source.")],
    to: Annotated[Path, typer.Option(help="Folder that will hold a folder of this name.")],
    languages: Languages = None,
) -> int:
    """Download a source's files into DIR/NAME: the only command that downloads data."""
    console = PlainConsole()
    source = catalog.source(name)
    codes = [word.strip() for word in languages.split(",")] if languages else None
    console.print(f"{source.name} is under {source.licence}; {source.sizes}.")
    for line in fetch_files(source, to / name, codes):
        console.print(f"  {line}")
    console.print(f"Fetched; use it with --benchmark {name} --data-dir {typed([str(to)])}")
    return 0


def _origins(name: str) -> list[str]:
    lines: list[str] = []
    for origin in catalog.source(name).origins:
        revision = f"revision {origin.revision}" if origin.revision else "no pinned revision"
        if isinstance(origin, Hub):
            lines.append(f"hub {origin.id}, {revision}: {', '.join(origin.files)}")
        else:
            lines += [*origin.urls, f"({revision})"]
    return lines
