"""The programs of docs/python.md do what they say."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="segments have names on Linux only")

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "python.md").read_text()
PRODUCER, CONSUMER, SEGMENT = re.findall(r"```python\n(import .*?)```", TEXT, re.DOTALL)


def start(program: str, name: str) -> subprocess.Popen[str]:
    assert '"camera"' in program
    return subprocess.Popen(
        [sys.executable, "-c", program.replace('"camera"', f'"{name}"')], stdout=subprocess.PIPE, text=True
    )


def test_producer_and_consumer(name: str) -> None:
    consumer = start(CONSUMER, name)
    producers = [start(PRODUCER, name)]
    try:
        assert consumer.stdout is not None
        for _ in range(3):
            assert re.match(r"\(1, 3, 224, 224\) frame \d+ mean \d+\.0 missed \d+", consumer.stdout.readline())
        producers[0].kill()
        producers[0].wait()
        # The consumer goes on with the next producer. While it waits for one, it may miss that one's first frames.
        producers.append(start(PRODUCER.replace("n = 0", "n = 1000"), name))
        while not re.search(r" mean 1\d\d\d\.0 ", consumer.stdout.readline()):
            assert consumer.poll() is None
        for process in (consumer, producers[1]):
            process.send_signal(signal.SIGINT)
            assert process.wait(20) == 0
    finally:
        for process in (consumer, *producers):
            process.kill()
            process.communicate()


def test_segment() -> None:
    subprocess.run([sys.executable, "-c", SEGMENT], check=True)
