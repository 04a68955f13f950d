"""How unevenly mean average precision falls over languages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def gaps(
    metrics: Mapping[str, float], queries: Sequence[str], corpora: Sequence[str]
) -> dict[str, float]:
    """Gap (max - min), spread (standard deviation) and worst of mAP over languages.

    `map_gap/mono`, `map_gap/cross_by_query` and `map_gap/cross_by_corpus` (means over the other
    side), `map_gap/multi`, of pictures `map_gap/t2i` and `map_gap/i2t`; the same with `map_spread`
    and `map_worst`; `map_gap/mono_cross` is the mean of mono minus the mean of cross.

    Args:
        metrics: With `map/<setting>` for every setting.
        queries: Query languages.
        corpora: Corpus languages.
    """
    cross = np.array(
        [[metrics.get(f"map/cross/{q}-{c}", np.nan) for c in corpora] for q in queries]
    )
    tables = {
        "mono": _known([metrics.get(f"map/mono/{language}", np.nan) for language in queries]),
        "cross_by_query": _means(cross),
        "cross_by_corpus": _means(cross.T),
        "multi": _known([metrics.get(f"map/multi/{language}", np.nan) for language in queries]),
        "t2i": _known([metrics.get(f"map/t2i/{language}", np.nan) for language in queries]),
        "i2t": _known([metrics.get(f"map/i2t/{language}", np.nan) for language in corpora]),
    }
    found: dict[str, float] = {}
    for kind, values in tables.items():
        if len(values) > 1:
            found[f"map_gap/{kind}"] = max(values) - min(values)
            found[f"map_spread/{kind}"] = float(np.std(values))
            found[f"map_worst/{kind}"] = min(values)
    if "map/mono" in metrics and "map/cross" in metrics:
        found["map_gap/mono_cross"] = metrics["map/mono"] - metrics["map/cross"]
    return found


def _known(values: Sequence[float]) -> list[float]:
    return [float(value) for value in values if not np.isnan(value)]


def _means(rows: np.ndarray) -> list[float]:
    return [float(np.mean(known)) for known in map(_known, rows) if known]
