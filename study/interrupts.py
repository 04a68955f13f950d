"""Early ends of a command: Ctrl-C, SIGTERM, a closed terminal or pipe."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

POLITE = (signal.SIGTERM, signal.SIGHUP)
"""Signals that request an end; they interrupt like Ctrl-C."""


@contextmanager
def saving() -> Iterator[None]:
    """Interrupt the block at the first signal only; later ones must not disturb its saving."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *POLITE)}
    signal.signal(signal.SIGINT, _Once())
    end_politely()
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_politely() -> None:
    """Let SIGTERM interrupt like Ctrl-C, and SIGHUP too unless `nohup` ignores it."""
    for number in POLITE:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


class _Once:
    """SIGINT handler that raises KeyboardInterrupt at the first signal, or calls `instead`."""

    def __init__(self) -> None:
        self.interrupted = False
        self.instead: Callable[[], None] | None = None

    def __call__(self, _signal: int, _frame: FrameType | None) -> None:
        if not self.interrupted:
            self.interrupted = True
            (self.instead or _stop)()


def _stop() -> None:
    raise KeyboardInterrupt


@contextmanager
def held() -> Iterator[None]:
    """Delay an interrupt until the end of the block.

    Python loses what is raised while a process is forked, and logging's lock with it.
    """
    interrupts: list[bool] = []
    with _on_interrupt(lambda: interrupts.append(True)):
        try:
            yield
        finally:
            if interrupts:
                raise KeyboardInterrupt


@contextmanager
def handed_on(number: signal.Signals) -> Iterator[None]:
    """Let an interrupt of the block raise another signal, once that signal has a handler."""

    def hand_on() -> None:
        if not callable(signal.getsignal(number)):
            raise KeyboardInterrupt
        signal.raise_signal(number)

    with _on_interrupt(hand_on):
        yield


@contextmanager
def _on_interrupt(act: Callable[[], None]) -> Iterator[None]:
    """Let the first interrupt of the block call `act`."""
    handler = signal.getsignal(signal.SIGINT)
    if not isinstance(handler, _Once):
        yield
        return
    before, handler.instead = handler.instead, act
    try:
        yield
    finally:
        handler.instead = before


def _interrupt(number: int, _frame: FrameType | None) -> None:
    if number == signal.SIGHUP:  # the terminal is gone: writing to it would be an error
        for stream in filter(os.isatty, (1, 2)):
            silence(stream)
    signal.raise_signal(signal.SIGINT)


def silence(descriptor: int) -> None:
    """Redirect a stream's further output to the null device."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
