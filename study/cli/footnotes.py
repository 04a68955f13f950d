"""What must be said below every table of a study."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.text import Text

from study.analysis.caveats import converted_offsets
from study.analysis.words import converted_words
from study.console import count_of, marked
from study.state.plan import Plan


def remarks(plan: Plan, results: Mapping[str, Mapping[str, Any]]) -> Iterator[Text]:
    """Changed memory layouts, converted offsets, texts cut off; the answer has its own marks."""
    changed = [digest for digest, result in results.items() if result.get("layout_changed")]
    if changed:
        labels = plan.labels
        names = sorted({labels[digest] for digest in changed})
        yield marked(
            "layout changed:",
            f" {count_of(len(changed), 'trial')} ran with smaller micro-batches after running out "
            f"of memory, in {', '.join(names)}",
        )
    converted = converted_words(converted_offsets(plan, results))
    yield from (marked("mind:", f" {line}") for line in converted)
    yield from _unread(plan, results)


def _unread(plan: Plan, results: Mapping[str, Mapping[str, Any]]) -> Iterator[Text]:
    """What each encoder never reads of the benchmarks, because its texts are limited."""
    said: set[tuple[str, str]] = set()
    for digest, result in results.items():
        spec = plan.specs[digest]
        for role, counts in result["counts"].items():
            name = spec.test.name if role == "test" else role
            if role == "validation" or (spec.encoder.name, name) in said:
                continue
            said.add((spec.encoder.name, name))
            parts = [
                f"{_share(cut, whole)} of {what}"
                for what, cut, whole in (
                    ("passages", *_sums(counts, "truncated/passages/", "encoded/passages/")),
                    ("answers", *_sums(counts, "answers/cut/", "answers/")),
                )
                if cut
            ]
            if parts:
                yield marked(
                    "cut off:",
                    f" {spec.encoder.name} reads {spec.encoder.max_passage_tokens} tokens of a "
                    f"passage of {name}, and loses the end of {' and '.join(parts)}",
                )


def _sums(counts: Mapping[str, int], part: str, whole: str) -> tuple[int, int]:
    """Sums over languages of counts whose names begin so."""
    cut = {k.removeprefix(part): v for k, v in counts.items() if k.startswith(part)}
    return sum(cut.values()), sum(counts.get(f"{whole}{language}", 0) for language in cut)


def _share(cut: int, whole: int) -> str:
    return f"{cut / whole:.1%}" if whole else f"{cut}"
