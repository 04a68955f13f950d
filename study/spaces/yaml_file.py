"""Read YAML safely: refuse duplicate keys and files larger than a person would write."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from trainables.errors import UserError

MOST_BYTES = 1_000_000
"""Limit on the size of a file, and on that of its values with all aliases expanded."""

VALUE_BYTES = 50
"""Least size that a value counts as; a file within the limit then loads in about a second."""

DEEPEST = 30
"""Deepest nesting of values."""

LONGEST_NUMBER = 100
"""Longest number or date, in characters; strings may be longer."""

_SURROGATE = re.compile("[\ud800-\udfff]")


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file.

    Raises:
        UserError: The file cannot be read, is not YAML or exceeds the limits.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if len(content) > MOST_BYTES:
        raise UserError(f"{path}: larger than {MOST_BYTES / 1e6:g} MB; no space is")
    try:
        value = _Limited(content.decode()).get_single_data()
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not YAML that a space may be written in: {error}") from None
    for text in _texts(value):
        if not text.isascii() and _SURROGATE.search(text):
            raise UserError(
                f"{path}: {text!r} holds half of a character (a lone surrogate); write the "
                "character itself, in UTF-8"
            )
    return value


class _Limited(yaml.SafeLoader):
    """Loader that refuses duplicate keys, of which PyYAML keeps the last, and excessive content."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = self.size = 0
        self.sizes: dict[yaml.Node, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        is_alias = self.check_event(yaml.AliasEvent)
        mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
        before = self.size
        self.depth += 1
        if self.depth > DEEPEST:
            raise _refusal(f"values lie more than {DEEPEST} deep in each other", mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        if node is None:
            return None
        if is_alias:
            if node not in self.sizes:
                raise _refusal("a value holds itself", mark)
            self.size += self.sizes[node]
        else:
            self.size += VALUE_BYTES
            if isinstance(node, yaml.ScalarNode):
                self.size += len(node.value)
                if node.tag != "tag:yaml.org,2002:str" and len(node.value) > LONGEST_NUMBER:
                    raise _refusal(f"a number or date of {len(node.value)} characters", mark)
            self.sizes[node] = self.size - before
        if self.size > MOST_BYTES:
            raise _refusal("more values than a space may have, aliases written out", mark)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError, AttributeError, TypeError, OverflowError):
            raise _refusal(
                f"{node.value!r} is no {node.tag.rpartition(':')[2]}", node.start_mark
            ) from None

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(keys)) < len(keys):
            repeated = min(key for key in keys if keys.count(key) > 1)
            raise _refusal(f"key {repeated!r} is given twice", node.start_mark)
        return super().construct_mapping(node, deep)


def _refusal(problem: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, mark)


def _texts(content: Any) -> Iterator[str]:
    """Yield every string in parsed YAML, including keys."""
    if isinstance(content, str):
        yield content
    elif isinstance(content, (dict, list)):
        for part in content:
            yield from _texts(part)
            if isinstance(content, dict):
                yield from _texts(content[part])
