"""Groups of languages that a study reports apart: by what they have, and by what trained on them.

A metric of a group is the plain mean over the settings whose queries are in one of its languages,
and is named like one of a language: `map/cross/low-resource`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from study.plan import Plan
from trainables.data.languages import base_language
from trainables.data.resources import by_level, by_pretraining

Groups = Mapping[str, tuple[str, ...]]
"""Name to languages, in ascending order."""

TRAINED_IN_ALL, TRAINED_IN_NONE = "trained-in-all", "trained-in-none"

BETWEEN = re.compile(r"-(?=[a-z])")
"""Between two codes: scripts and regions begin with a capital or a digit, languages do not."""


def language_groups(plan: Plan) -> dict[str, tuple[str, ...]]:
    """The groups of the test benchmark's languages; a group that is empty or all of them is none.

    `low-resource` and `high-resource` by Joshi's classes, `xlm-r-read-little` and `-much` by text
    in pre-training (`trainables.data.resources`); and `trained-in-all` and `trained-in-none` of the
    arms: where these train on different languages, between the two lie those whose figures mix
    being trained on with everything else. A language counts as trained on in whatever script or
    region: `zh-Hant` and `zh-HK` where an arm trains on `zh`.
    """
    specs = list(plan.specs.values())
    languages = (specs[0].test.languages or ()) if specs else ()
    found = {f"{level}-resource": members for level, members in by_level(languages).items()}
    found |= by_pretraining(languages)
    trained = {frozenset(map(base_language, spec.languages)) for spec in specs if spec.languages}
    if trained:
        everywhere, anywhere = frozenset.intersection(*trained), frozenset.union(*trained)
        found[TRAINED_IN_ALL] = tuple(x for x in languages if base_language(x) in everywhere)
        found[TRAINED_IN_NONE] = tuple(x for x in languages if base_language(x) not in anywhere)
    return {name: held for name, held in found.items() if 0 < len(held) < len(languages)}


def in_group(setting: str, languages: Iterable[str]) -> bool:
    """Whether queries of a setting, `cross/de-en` or `de`, are in one of these languages."""
    kind, _, rest = setting.rpartition("/")
    query = BETWEEN.split(rest)[0] if kind == "cross" else rest
    return query in set(languages)


def metric_of(metrics: Mapping[str, float], name: str, groups: Groups) -> float | None:
    """A metric of a benchmark or of a group of its languages; None where there is none."""
    if name in metrics:
        return metrics[name]
    macro, _, group = name.rpartition("/")
    if group not in groups:
        return None
    measure = macro.partition("/")[0]
    members = [
        value
        for setting, value in metrics.items()
        if setting.startswith(f"{macro}/")
        and in_group(setting.removeprefix(f"{measure}/"), groups[group])
    ]
    return sum(members) / len(members) if members else None
