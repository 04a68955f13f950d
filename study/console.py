"""Console output: text is shown as written, and control characters are made visible."""

from __future__ import annotations

import errno
import io
import os
import re
import shlex
import signal
import sys
from collections.abc import Iterable
from typing import IO, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from study.interrupts import silence
from trainables.errors import UserError

FILE_WIDTH = 120
"""Columns of output to a file or a pipe, which has no width."""

_OBEYED = re.compile(
    # control characters except tab and line feed, bidirectional and invisible marks, other line
    # separators, lone surrogates; not the characters of right-to-left text and emoji
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u2028-\u202e\u2060-\u206f\ufeff"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)


def visible(text: str) -> str:
    r"""Replace characters that a terminal would obey with escapes such as `\x1b`."""
    return _OBEYED.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def in_markdown(text: str) -> str:
    """Escape text for Markdown and HTML, on one line; underscores within words are harmless."""
    return re.sub(r"([\\`*\[\]<>]|^[#>+-])", r"\\\1", " ".join(text.split()))


def decoded(argument: str) -> str:
    """Decode an argument of the command line as UTF-8, whatever the locale.

    Raises:
        UserError: It is not UTF-8.
    """
    try:
        return os.fsencode(argument).decode("utf-8")
    except UnicodeError:
        raise UserError(f"{argument}: this is not UTF-8; type it in UTF-8") from None


def marked(label: str, rest: str, style: str = "yellow") -> Text:
    """Format a line that begins with a coloured label."""
    return Text.assemble((visible(label), style), visible(rest))


def typed(words: Iterable[str]) -> str:
    """Quote words as one line that can be pasted into a shell as it is shown."""
    return " ".join(_quoted(word) for word in words)


def _quoted(word: str) -> str:
    if "\t" not in word and "\n" not in word and visible(word) == word:
        return shlex.quote(word)
    escapes = {"\\": r"\\", "'": r"\'", "\t": r"\t", "\n": r"\n"}
    escaped = (
        escapes.get(char) or (char if visible(char) == char else f"\\u{ord(char):04x}")
        for char in word
    )
    return f"$'{''.join(escaped)}'"


def escape_what_is_lacking(stream: object) -> None:
    """Let a stream write escapes for characters that its encoding lacks."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")


class PlainConsole(Console):
    """Console that shows text as written: no markup, no emoji codes, no highlighting.

    Colours come from `marked` and other `Text` only, so text from people cannot be taken for
    markup.
    """

    def __init__(
        self, file: IO[str] | None = None, *, stderr: bool = False, **options: Any
    ) -> None:
        """Write to a file, standard error or standard output, whatever its encoding."""
        stream = file or (sys.stderr if stderr else sys.stdout)
        escape_what_is_lacking(stream)
        if not stream.isatty():
            options = {"width": FILE_WIDTH} | options
        super().__init__(
            file=file, stderr=stderr, markup=False, emoji=False, highlight=False, **options
        )

    def __exit__(self, *error: Any) -> None:
        """Flush the output; treat a terminal that is gone like a broken pipe."""
        try:
            super().__exit__(*error)
        except OSError as lost:
            if lost.errno != errno.EIO:
                raise
            self.on_broken_pipe()

    def on_broken_pipe(self) -> None:
        """Discard further output; if it was standard output, interrupt the command."""
        silence(self.file.fileno())
        if not self.stderr:
            signal.raise_signal(signal.SIGINT)

    def render_str(self, text: str, **options: Any) -> Text:
        """Make the text of cells and titles visible, too."""
        return super().render_str(visible(text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Make the text of any renderable visible."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(visible(segment.text), segment.style)


def count_of(number: int, noun: str) -> str:
    """Format a count: `1 trial`, `2 trials`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
