"""`keys`: list the settings of spaces and `--set`, from their declarations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from study.cli.tables import listing
from study.console import PlainConsole
from study.spaces.settings import EFFECTS, Settings, refuse_unknown
from trainables.spec.settings import ANY, Effect, Stage

NAMES_OF_TYPES = {int: "whole number", float: "number", bool: "true or false", str: "text"}

SIGNS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
"""Signs of limits, by attribute of a field's metadata."""

COLUMNS = ("key", "default", "values", "effect only with", "meaning")


def show_keys(
    key: Annotated[str | None, typer.Argument(help="One key; all if unset.")] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="As the tables of docs/settings.md.")
    ] = False,
) -> int:
    """List the settings of a trial, or one with its values, limits and when it has an effect."""
    if key is not None:
        refuse_unknown(key, "keys")
    rows = [row for row in keys() if key in (None, row.name)]
    console = PlainConsole(soft_wrap=markdown)
    if markdown:
        console.print("\n".join(markdown_tables(rows)))
    elif key is not None:
        console.print(listing(zip(COLUMNS, rows[0].columns(), strict=True)))
    else:
        lines = ((row.name, row.default, row.description) for row in rows)
        console.print(listing(lines, ("key", "default", "meaning")))
    return 0


def markdown_tables(rows: list[Key]) -> Iterator[str]:
    """Yield the lines of one Markdown table per stage."""
    for stage in get_args(Stage):
        yield from ("", f"## {stage.capitalize()}", "")
        yield f"| {' | '.join(COLUMNS)} |"
        yield f"|{'---|' * len(COLUMNS)}"
        for row in rows:
            if row.stage == stage:
                name, default, *others = row.columns()
                yield f"| {' | '.join([f'`{name}`', f'`{default}`', *others])} |"


@dataclass(frozen=True)
class Key:
    """Description of a setting.

    Attributes:
        name: Key in a space and in `--set`.
        stage: Part of a study that it belongs to.
        values: Type and limits, or the values allowed.
        default: Default as written in `--set`.
        effect: Other settings that it needs to have an effect; empty if it always has one.
        description: Meaning.
    """

    name: str
    stage: str
    values: str
    default: str
    effect: str
    description: str

    def columns(self) -> tuple[str, ...]:
        """Return its row in a table of `COLUMNS`."""
        return self.name, self.default, self.values, self.effect, self.description


def keys() -> list[Key]:
    """List all settings, sorted by stage."""
    rows = [
        Key(
            name=name,
            stage=EFFECTS[name].stage,
            values=_values(field),
            default=_typed(field.default),
            effect=_conditions(EFFECTS[name]),
            description=str(field.description),
        )
        for name, field in Settings.model_fields.items()
    ]
    stages = get_args(Stage)
    return sorted(rows, key=lambda row: stages.index(row.stage))


def _typed(value: Any) -> str:
    """Format a value as written in `--set`."""
    return "null" if value is None else str(value).lower() if value in (True, False) else str(value)


def _values(field: FieldInfo) -> str:
    """Format type and limits of a field."""
    words, limits = [], []
    for part in (*_parts(field.annotation), *field.metadata):
        if get_origin(part) is Literal:
            words.append(", ".join(f"`{value}`" for value in get_args(part)))
        elif get_origin(part) is tuple:
            words.append("names with commas between")
        elif isinstance(part, type) and part in NAMES_OF_TYPES:
            words.append(NAMES_OF_TYPES[part])
        limits += [
            f"{sign} {getattr(part, name)}" for name, sign in SIGNS.items() if hasattr(part, name)
        ]
    return " ".join([*words, " and ".join(limits)]).strip()


def _parts(annotation: Any) -> Iterator[Any]:
    """Yield the types in an annotation and the limits inside `Annotated`."""
    if get_origin(annotation) is Annotated:
        for part in get_args(annotation):
            yield from part.metadata if isinstance(part, FieldInfo) else _parts(part)
    elif get_origin(annotation) in (Union, UnionType):
        for part in get_args(annotation):
            yield from _parts(part)
    else:
        yield annotation


def _conditions(effect: Effect) -> str:
    """Format the conditions under which a setting has an effect."""
    return " or ".join(
        " and ".join(
            key if values == ANY else f"{key} {', '.join(map(_typed, values))}"
            for key, values in condition.items()
        )
        for condition in effect.only_with
    )
