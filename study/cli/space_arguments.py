"""What was typed of a study: its space, tier and settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from study.spaces.schema import Space, Tier, load_space, refuse_several
from study.spaces.settings import parse_assignments
from trainables.data import catalog
from trainables.encoders.embedded import is_embedded
from trainables.errors import UserError


@dataclass(frozen=True)
class SpaceArguments:
    """What the options say that all commands about a space share.

    Attributes:
        space: The research question.
        tier: Of it.
        settings: That replace the space's.
    """

    space: Space
    tier: Tier
    settings: dict[str, Any]

    @classmethod
    def read(
        cls,
        space: str,
        tier: str | None,
        benchmark: str | None,
        encoder: str | None,
        assignments: Sequence[str] | None,
        default: Tier | None = None,
    ) -> SpaceArguments:
        """Understand what was typed.

        Without a tier it is `default`, or the one that benchmark and encoder ask for; of a space
        that has one tier alone, that one.

        Raises:
            UserError: No such tier or space, or a setting that is not `KEY=VALUE`.
        """
        settings: dict[str, Any] = parse_assignments(list(assignments or ()))
        for key, value in (("benchmark", benchmark), ("encoder", encoder)):
            if value and key in settings:
                raise UserError(f"--{key} {value}: --set {key}={settings[key]} is given too")
            settings |= {key: value} if value else {}
        loaded = load_space(space)
        chosen = tier_of(tier or default, settings)
        if tier is None and len(loaded.tiers) == 1:
            [chosen] = loaded.tiers
        if chosen not in loaded.tiers:
            raise UserError(
                f"--space {space}: it has no tier {chosen}; add one to its tiers, or choose "
                f"--tier {' or '.join(loaded.tiers) or 'demo'}"
            )
        refuse_several(settings, loaded, chosen, space)
        return cls(loaded, chosen, settings)


def tier_of(tier: str | None, settings: Mapping[str, Any]) -> Tier:
    """The tier asked for, or the one that benchmark and encoder belong to."""
    if tier in ("demo", "full"):
        return "full" if tier == "full" else "demo"
    if tier is not None:
        raise UserError(f"--tier {tier}: choose demo or full")
    real = not catalog.is_embedded(settings.get("benchmark", "synthetic"))
    real |= not is_embedded(settings.get("encoder", "embedded/small"))
    return "full" if real else "demo"
