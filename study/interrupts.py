"""What ends a command early: Ctrl-C, SIGTERM, a terminal or a pipe that is closed, a full disk."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

POLITE = (signal.SIGTERM, signal.SIGHUP)
"""Signals that ask for an end, and interrupt as Ctrl-C does."""


@contextmanager
def saving() -> Iterator[None]:
    """Let the first interrupt stop what goes on, and those after it leave its saving alone."""
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
    """Let SIGTERM, and SIGHUP unless `nohup` has it ignored, interrupt as Ctrl-C does."""
    for number in POLITE:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


class _Once:
    """Raises KeyboardInterrupt at its first signal, or does what a block has instead."""

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
    """Interrupt only at the end of a block.

    Python loses what is raised while a process is forked, and logging's lock with it.
    """
    came: list[bool] = []
    with _instead(lambda: came.append(True)):
        try:
            yield
        finally:
            if came:
                raise KeyboardInterrupt


@contextmanager
def handed_on(number: signal.Signals) -> Iterator[None]:
    """Let another signal's handler, once there is one, end a block when it is interrupted."""

    def hand_on() -> None:
        if not callable(signal.getsignal(number)):
            raise KeyboardInterrupt
        signal.raise_signal(number)

    with _instead(hand_on):
        yield


@contextmanager
def _instead(act: Callable[[], None]) -> Iterator[None]:
    once = signal.getsignal(signal.SIGINT)
    if not isinstance(once, _Once):
        yield
        return
    before, once.instead = once.instead, act
    try:
        yield
    finally:
        once.instead = before


def _interrupt(number: int, _frame: FrameType | None) -> None:
    if number == signal.SIGHUP:  # the terminal is gone, and writing to it an error
        for stream in filter(os.isatty, (1, 2)):
            silence(stream)
    signal.raise_signal(signal.SIGINT)


def silence(descriptor: int) -> None:
    """Let what is still written to a stream go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
