"""How text is shown, everywhere: as written, with what a terminal would obey made visible."""

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
"""Columns where the output goes to a file or a pipe, which has no width of its own."""

_OBEYED = re.compile(
    # controls but for tab and line feed, marks that reorder or hide, other ends of lines, lone
    # surrogates; not what right-to-left text and emoji are written with
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u2028-\u202e\u2060-\u206f\ufeff"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)


def visible(text: str) -> str:
    r"""The text with escapes such as `\x1b` for all that would be obeyed instead of shown."""
    return _OBEYED.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def in_markdown(text: str) -> str:
    """Text whose characters mean nothing to Markdown or HTML; underscores within words are safe."""
    return re.sub(r"([\\`*\[\]<>]|^[#>+-])", r"\\\1", " ".join(text.split()))


def decoded(argument: str) -> str:
    """An argument of the command line as UTF-8, whatever the locale took it for.

    Raises:
        UserError: It is not UTF-8.
    """
    try:
        return os.fsencode(argument).decode("utf-8")
    except UnicodeError:
        raise UserError(f"{argument}: this is not UTF-8; type it in UTF-8") from None


def marked(label: str, rest: str, style: str = "yellow") -> Text:
    """A line that begins with a coloured label."""
    return Text.assemble((visible(label), style), visible(rest))


def typed(words: Iterable[str]) -> str:
    """A command that can be typed again as it is shown: one line, whatever its words hold."""
    return " ".join(_quoted(word) for word in words)


def _quoted(word: str) -> str:
    if "\t" not in word and "\n" not in word and visible(word) == word:
        return shlex.quote(word)
    escapes = {"\\": r"\\", "'": r"\'", "\t": r"\t", "\n": r"\n"}
    whole = (escapes.get(x) or (x if visible(x) == x else f"\\u{ord(x):04x}") for x in word)
    return f"$'{''.join(whole)}'"


def escape_what_is_lacking(stream: object) -> None:
    """Let a stream write an escape for each character that its encoding lacks."""
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")


class PlainConsole(Console):
    """A console that shows text as it is written: no markup, no emoji codes, no highlighting.

    Colours are given by `marked` and other `Text`, never in the text itself, so nothing that a
    person wrote can be taken for them.
    """

    def __init__(self, file: IO[str] | None = None, *, stderr: bool = False, **more: Any) -> None:
        """Write to a file, standard error or standard output, whatever its encoding."""
        stream = file or (sys.stderr if stderr else sys.stdout)
        escape_what_is_lacking(stream)
        if not stream.isatty():
            more = {"width": FILE_WIDTH} | more
        super().__init__(
            file=file, stderr=stderr, markup=False, emoji=False, highlight=False, **more
        )

    def __exit__(self, *error: Any) -> None:
        """Write what was shown; a terminal that is gone is a pipe that nobody reads."""
        try:
            super().__exit__(*error)
        except OSError as lost:
            if lost.errno != errno.EIO:
                raise
            self.on_broken_pipe()

    def on_broken_pipe(self) -> None:
        """Nobody reads on: that interrupts, and what is still written goes nowhere."""
        silence(self.file.fileno())
        if not self.stderr:
            signal.raise_signal(signal.SIGINT)

    def render_str(self, text: str, **more: Any) -> Text:
        """Text that is laid out, of cells and titles too."""
        return super().render_str(visible(text), **more)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """What is written, where it was no plain text."""
        for segment in super().render(renderable, options):
            if segment.control:
                yield segment
            else:
                yield Segment(visible(segment.text), segment.style)


def count_of(number: int, noun: str) -> str:
    """`1 trial`, `2 trials`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
