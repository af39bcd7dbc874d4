"""What the tests have in common."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import judemap

_numbers = itertools.count()


@pytest.fixture(autouse=True)
def time_limit() -> Iterator[None]:
    """Ends a test that waits for what never comes."""

    def over(*_: object) -> None:
        raise AssertionError("the test took 100 s")

    if hasattr(signal, "SIGALRM"):
        before = signal.signal(signal.SIGALRM, over)
        signal.alarm(100)
        yield
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    else:
        yield


@pytest.fixture
def name() -> Iterator[str]:
    """A name of this test's own, taken away after it."""
    made = f"judemap-pytest-{os.getpid()}-{next(_numbers)}"
    yield made
    with contextlib.suppress(FileNotFoundError):
        judemap.remove(made)


class Child:
    """A Python program of its own, which speaks line by line."""

    def __init__(self, program: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(program), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def line(self) -> str:
        """The next line that it prints, or "" when it ended."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def say(self, line: str) -> None:
        """Writes a line for it to read."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")

    def end(self, seconds: float = 30) -> int:
        """Waits for its end: the exit status."""
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        status = self.process.wait(seconds)
        self.process.stdout.close()
        return status


@pytest.fixture
def child() -> Iterator[Callable[..., Child]]:
    """Starts programs, and kills what is left of them after the test."""
    children: list[Child] = []

    def start(program: str, *arguments: str) -> Child:
        children.append(Child(program, *arguments))
        return children[-1]

    yield start
    for each in children:
        each.process.kill()
        each.end()


def eventually(condition: Callable[[], Any], seconds: float = 20) -> bool:
    """Whether a condition comes true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def in_shm(name: str) -> bool:
    """Whether a name is there."""
    return Path("/dev/shm", name).exists()
