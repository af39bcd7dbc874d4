"""Tests the page of `judemap serve` in Chromium, and makes pictures of it.

Usage: page_test.py JUDEMAP OUT [--axe axe.min.js] [--prefix PREFIX] [--docs FOLDER]

JUDEMAP is the command and OUT a folder for the pictures. All names of segments begin with PREFIX. Without axe-core, only the
page's own checks are made of how accessible it is. With --docs nothing is tested: the pictures of the documentation are made.
"""

from __future__ import annotations

import argparse
import array
import fcntl
import html
import http.client
import json
import math
import os
import pty
import random
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyte
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

PHOTO = Path(__file__).resolve().parents[2] / "internal/demo/photo/astronaut.png"


class Machine:
    """Programs that write and read, and what they leave behind."""

    def __init__(self, judemap: str, prefix: str) -> None:
        self.judemap = judemap
        self.prefix = prefix
        self.names: list[str] = []
        self.programs: list[subprocess.Popen[bytes]] = []
        self.ending = threading.Event()

    def name(self, name: str) -> str:
        name = self.prefix + name
        if name not in self.names:
            self.names.append(name)
        return name

    def start(self, *arguments: str, **options: object) -> subprocess.Popen[bytes]:
        program = subprocess.Popen([self.judemap, *arguments], **options)  # type: ignore[call-overload]
        self.programs.append(program)
        return program

    def put(self, name: str) -> None:
        subprocess.run([self.judemap, "put", str(PHOTO), self.name(name)], check=True)

    def write(self, name: str, dtype: str, shape: str, fps: float, frame: Callable[[int], bytes], *more: str) -> subprocess.Popen[bytes]:
        """Writes frames to a stream, so many a second, until the end."""
        program = self.start("put", "--raw", dtype, "--shape", shape, *more, "-", self.name(name), stdin=subprocess.PIPE,
                             stderr=subprocess.DEVNULL)

        def feed() -> None:
            n = 0
            start = time.monotonic()
            try:
                while not self.ending.is_set():
                    assert program.stdin is not None
                    program.stdin.write(frame(n))
                    program.stdin.flush()
                    n += 1
                    self.ending.wait(max(0.0, start + n / fps - time.monotonic()))
            except OSError:
                pass  # it has ended

        threading.Thread(target=feed, daemon=True).start()
        return program

    def read(self, name: str, stalled: bool = False) -> subprocess.Popen[bytes]:
        return self.start("get", self.prefix + name, "--raw", "-", stdout=subprocess.PIPE if stalled else subprocess.DEVNULL,
                          stderr=subprocess.DEVNULL)

    def end(self) -> None:
        self.ending.set()
        for program in self.programs:
            program.kill()
        for program in self.programs:
            program.wait()
        for name in self.names:
            subprocess.run([self.judemap, "rm", "--force", "--", name], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)


def fill(machine: Machine) -> None:
    """Has the machine do what the pictures show."""
    machine.put("photo")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "photo.npy")
        subprocess.run([machine.judemap, "export", machine.prefix + "photo", str(file)], check=True, timeout=20)
        raw = file.read_bytes()[-512 * 512 * 3 :]
    width, height = 320, 240

    def camera(n: int) -> bytes:
        x, y = 90 + round(60 * math.sin(n / 40)), 20 + round(20 * math.cos(n / 55))
        return b"".join(raw[((y + i) * 512 + x) * 3 : ((y + i) * 512 + x + width) * 3] for i in range(height))

    grey = [[raw[(2 * y * 512 + 2 * x) * 3] / 255 for x in range(160)] for y in range(120)]

    def depth(n: int) -> bytes:
        level = 0.75 + 0.25 * math.sin(n / 20)
        return array.array("f", [v * level for row in grey for v in row]).tobytes()

    source = random.Random(1)
    noise = array.array("f", [source.gauss(0, 1) for _ in range(4096)])

    def features(n: int) -> bytes:
        return noise[n * 37 % 2048 : n * 37 % 2048 + 2048].tobytes()

    machine.write("camera", "uint8", f"{height},{width},3", 30, camera)
    machine.write("depth", "float32", "1,120,160", 15, depth, "--slots", "6")
    machine.write("features", "float32", "2048", 10, features, "--every-frame")
    machine.write("audio", "float32", "2,480", 100, lambda n: array.array("f", [math.sin((480 * n + i % 480) / 9) for i in range(960)]).tobytes())
    trigger = machine.write("trigger", "int64", "1", 1, lambda n: n.to_bytes(8, "little"))
    machine.write("crashed", "uint8", "16,16", 20, lambda n: bytes(range(256)))
    time.sleep(1)
    machine.programs[-1].kill()
    del trigger
    machine.read("camera")
    machine.read("camera")
    machine.read("features")
    dead = machine.read("depth", stalled=True)
    machine.read("depth")
    time.sleep(0.5)
    dead.kill()


@contextmanager
def browser() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    profile = tempfile.TemporaryDirectory()
    options.add_argument(f"--user-data-dir={profile.name}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    options.binary_location = "/usr/bin/chromium"
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))
    driver.set_page_load_timeout(30)
    driver.set_script_timeout(30)
    try:
        yield driver
    finally:
        driver.quit()
        profile.cleanup()


class Page:
    """The page in a browser."""

    def __init__(self, driver: webdriver.Chrome, url: str, machine: Machine, out: Path, axe: str | None) -> None:
        self.driver, self.url, self.machine, self.out, self.axe = driver, url, machine, out, axe

    def js(self, script: str, *arguments: object) -> object:
        return self.driver.execute_script(script, *arguments)

    def wait(self, what: str, condition: Callable[[], object], seconds: float = 15) -> None:
        try:
            WebDriverWait(self.driver, seconds, poll_frequency=0.1).until(lambda _: condition())
        except Exception:
            self.picture("failed")
            raise AssertionError(f"{what}: not within {seconds} s") from None

    def media(self, scheme: str, width: int, height: int) -> None:
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride",
                                    {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False})

    def picture(self, name: str) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(self.out / f"{name}.png"))

    def text(self, selector: str) -> str:
        return str(self.js("return document.querySelector(arguments[0]).textContent", selector))

    def row(self, name: str) -> str:
        """The texts of a row's cells, or "" if there is none."""
        return str(self.js("""
            const row = [...document.querySelectorAll("#rows tr")].find((r) => r.querySelector("button").textContent === arguments[0]);
            return row ? [...row.children].map((c) => c.textContent).join("|") : "";""", name))

    def open(self, name: str) -> None:
        self.js("""
            if (chosen) choose("");
            [...document.querySelectorAll("#rows button")].find((b) => b.textContent === arguments[0]).click();""", name)
        self.wait(f"the details of {name}", lambda: self.text("#detail-name") == name and not self.js("return $('header-box').hidden"))

    def accessible(self, what: str) -> None:
        """Runs axe-core over what is shown."""
        if self.axe is None:
            return
        if not self.js("return typeof axe === 'object'"):
            # By the browser's own door: the page's policy lets no script in.
            self.driver.execute_cdp_cmd("Runtime.evaluate", {"expression": self.axe})
        result = self.driver.execute_async_script("""
            const done = arguments[arguments.length - 1];
            axe.run(document, { resultTypes: ["violations"] }).then((r) => done(r.violations.map((v) => v.id + ": " + v.help + " " +
              v.nodes.map((n) => n.target + " " + n.failureSummary).slice(0, 3).join("; "))), (e) => done([String(e)]));""")
        assert result == [], f"{what}: " + "\n".join(result)


def serve(machine: Machine, *arguments: str) -> tuple[subprocess.Popen[bytes], str]:
    program = machine.start("serve", "--json", *arguments, stdout=subprocess.PIPE)
    assert program.stdout is not None
    return program, json.loads(program.stdout.readline())["url"]


SHOTS = [("light", 1440, 900), ("dark", 1440, 900), ("light", 400, 800), ("dark", 400, 800)]


def pictures(page: Page) -> None:
    """Makes pictures of the page in all its looks, and has each checked."""
    for scheme, width, height in SHOTS:
        page.media(scheme, width, height)
        page.js("if (chosen) choose(''); document.activeElement.blur(); scrollTo(0, 0)")
        time.sleep(0.3)
        page.accessible(f"the table, {scheme}, {width}")
        page.picture(f"{scheme}-{width}-table")
        for name in ("camera", "features", "crashed"):
            page.open(page.machine.prefix + name)
            page.js("document.activeElement.blur()")
            if name == "camera":
                page.wait("the picture", lambda: page.js("return $('picture-image').naturalWidth > 0 && !$('picture').hidden"))
            time.sleep(1)
            page.accessible(f"{name}, {scheme}, {width}")
            page.picture(f"{scheme}-{width}-{name}")
            wide = page.js("return document.scrollingElement.scrollWidth")
            assert wide == width, f"{name}: the page is {wide} pixels wide, on {width}"
        page.js("$('header-box').open = true; document.querySelector('.legend').open = true")
        page.accessible(f"with all open, {scheme}, {width}")
        page.js("$('detail').scrollTop = 1e6; scrollTo(0, 1e6)")
        page.picture(f"{scheme}-{width}-open")
        page.js("$('header-box').open = false; document.querySelector('.legend').open = false; choose('')")
    page.media("light", 1440, 900)


# What a terminal's colours are here, and its font.
TERMINAL = """
body { margin: 0; background: #101317; display: inline-block; padding: 14px 18px; }
pre { margin: 0; font: 15px/19px "DejaVu Sans Mono", monospace; color: #e6e9ed; }
.prompt { color: #9ba5b0; }
i { display: inline-block; width: 9px; height: 19px; vertical-align: top; }
"""


def terminal(page: Page, file: Path, *arguments: str) -> None:
    """Makes a picture of a terminal after two seconds of the command."""
    columns, rows = 80, 31
    screen = pyte.Screen(columns, rows)
    stream = pyte.ByteStream(screen)
    control, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    program = page.machine.start(*arguments, stdin=other, stdout=other, env={**os.environ, "TERM": "xterm-256color"})
    os.close(other)
    end = time.monotonic() + 2
    while time.monotonic() < end:
        if select.select([control], [], [], 0.1)[0]:
            stream.feed(os.read(control, 1 << 16))
    program.kill()
    lines = [html.escape(f"$ judemap {' '.join(arguments)}")]
    lines[0] = f'<span class="prompt">{lines[0]}</span>'
    for y in range(rows):
        line = ""
        for x in range(columns):
            cell = screen.buffer[y][x]
            if cell.data == "▀":  # two pixels, which no font is to blur
                line += f'<i style="background: linear-gradient(#{cell.fg} 50%, #{cell.bg} 50%)"></i>'
            else:
                line += html.escape(cell.data)
        lines.append(line.rstrip())
    while not lines[-1]:
        lines.pop()
    text = "\n".join(lines)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "terminal.html")
        source.write_text(f'<!doctype html><meta charset="utf-8"><style>{TERMINAL}</style><pre>{text}</pre>')
        page.media("dark", 900, 900)
        page.driver.get(source.as_uri())
        page.driver.find_element(By.TAG_NAME, "body").screenshot(str(file))


def documentation(page: Page, folder: Path) -> None:
    """Makes the pictures of the documentation."""
    page.media("light", 1440, 860)
    time.sleep(62)  # so that the lines are full
    page.open(page.machine.prefix + "camera")
    page.js("document.activeElement.blur()")
    page.wait("the picture", lambda: page.js("return $('picture-image').naturalWidth > 0 && !$('picture').hidden"))
    time.sleep(3)
    page.driver.save_screenshot(str(folder / "serve.png"))
    terminal(page, folder / "watch.png", "watch", page.machine.prefix + "camera")
    terminal(page, folder / "top.png", "top")


def check_access(page: Page) -> None:
    """The token is wanted, and leaves the address."""
    url = urllib.parse.urlsplit(page.url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port)
    connection.request("GET", "/")
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 403, answer.status
    assert page.driver.current_url == f"http://{url.netloc}/", page.driver.current_url
    cookies = page.driver.get_cookies()
    assert len(cookies) == 1 and cookies[0]["httpOnly"] and cookies[0]["sameSite"] == "Strict", cookies


def check_table(page: Page) -> None:
    prefix = page.machine.prefix
    page.wait("rates", lambda: "30|" in page.row(prefix + "camera") or "31|" in page.row(prefix + "camera") or "29|" in page.row(prefix + "camera"))
    row = page.row(prefix + "camera").split("|")
    assert row[0].endswith("stream") and row[1] == "uint8 [240 320 3]" and "MB" in row[4] and row[6] == "2" and row[8] == "other", row
    page.wait("a dead reader", lambda: page.row(prefix + "depth").split("|")[6] in ("1, 1 dead", "1"))
    page.wait("a dead writer", lambda: page.row(prefix + "crashed").split("|")[8] == "died")
    assert page.row(prefix + "photo").split("|")[5].startswith("> "), page.row(prefix + "photo")
    names = page.js("return [...document.querySelectorAll('#rows tr:not([hidden]) button')].map((b) => b.textContent)")
    assert isinstance(names, list) and names.index(prefix + "camera") < names.index(prefix + "audio") < names.index(prefix + "photo"), names
    # Sorted by name, and back.
    page.driver.find_element(By.CSS_SELECTOR, "th[data-sort=name] button").click()
    names = page.js("return [...document.querySelectorAll('#rows tr:not([hidden]) button')].map((b) => b.textContent)")
    assert isinstance(names, list) and names == sorted(names), names
    assert page.js("return document.querySelector('th[data-sort=name]').ariaSort") == "ascending"
    page.driver.find_element(By.CSS_SELECTOR, "th[data-sort=bytes] button").click()


def check_hostile(page: Page) -> None:
    """Names are text, whatever is in them."""
    name = page.machine.prefix + "<img src=x onerror=window.hostile=1>"
    odd = page.machine.prefix + "\x1b[31m\u202e\n"
    page.machine.put(name.removeprefix(page.machine.prefix))
    page.machine.put(odd.removeprefix(page.machine.prefix))
    shown = name
    page.wait("a name with a tag", lambda: page.row(shown))
    page.wait("a name with an escape", lambda: page.row('"' + page.machine.prefix + r"\x1b[31m\u202e\n" + '"'))
    page.open(shown)
    page.wait("its picture", lambda: page.js("return $('picture-image').naturalWidth > 0 && !$('picture').hidden"))
    page.open('"' + page.machine.prefix + r"\x1b[31m\u202e\n" + '"')
    page.wait("its picture", lambda: page.js("return $('picture-image').naturalWidth > 0 && !$('picture').hidden"))
    page.js("choose('')")
    assert page.js("return window.hostile") is None
    assert page.js("return document.querySelectorAll('#rows img').length") == 0
    for n in (name, odd):
        subprocess.run([page.machine.judemap, "rm", "--", n], check=True, stdout=subprocess.DEVNULL)
    page.wait("a row that goes", lambda: not page.row(shown))


def check_details(page: Page) -> None:
    prefix = page.machine.prefix
    page.open(prefix + "camera")
    page.wait("the picture", lambda: page.js("return $('picture-image').naturalWidth === 320 && !$('picture').hidden"))
    assert page.js("return $('picture-image').alt") == f"The tensor of {prefix}camera as a picture"
    key = page.js("return $('picture-image').dataset.key")
    page.wait("another picture", lambda: page.js("return $('picture-image').dataset.key") != key)
    page.wait("the pace", lambda: page.text("#pace").startswith("Time between commits: median 3"))
    assert page.js("return $('histogram').children.length") == 40
    assert page.js("return $('slots').children.length") == 4
    assert page.js("return $('readers').children.length") == 2
    assert "sequence" in page.text("#header") and "every writer wakes" in page.text("#header")
    page.wait("a rate", lambda: page.text("#rate-text").startswith("Now 6."))
    page.open(prefix + "photo")
    assert page.js("return $('stream').hidden")
    page.wait("a picture that is whole", lambda: page.text("#picture-text") == "512 × 512 pixels")
    # Paused, nothing changes.
    page.open(prefix + "audio")
    page.driver.find_element(By.ID, "pause").click()
    time.sleep(0.5)
    before = page.text("#main")
    time.sleep(1.5)
    assert page.text("#main") == before, "it changes, and is paused"
    page.driver.find_element(By.ID, "pause").click()
    page.wait("changes", lambda: page.text("#main") != before)
    page.js("choose('')")


def focused(page: Page) -> str:
    return str(page.js("const e = document.activeElement; return e.id || e.textContent"))


def check_keyboard(page: Page) -> None:
    """All can be reached and done by keys, in the order in which it is seen, and the focus is seen and stays."""
    prefix = page.machine.prefix
    page.driver.get(page.url.split("?")[0])
    page.wait("the table", lambda: page.row(prefix + "camera"))
    page.js("$('filter').value = arguments[0]; $('filter').dispatchEvent(new Event('input'))", prefix)

    def press(*keys: str) -> None:
        ActionChains(page.driver).send_keys(*keys).perform()

    order = []
    for _ in range(11):
        press(Keys.TAB)
        order.append(focused(page))
        outline = page.js("return getComputedStyle(document.activeElement).outlineStyle + getComputedStyle(document.activeElement).outlineWidth")
        assert outline == "solid2px", f"the focus on {order[-1]} is not seen: {outline}"
    want = ["Skip to the table", "filter", "pause", "Name", "Commits/s", "Bytes/s", "Age", "Readers", "Missed", "Writer"]
    assert order[:-1] == want, order
    first = order[-1]
    assert page.row(first), first
    press(Keys.ENTER)
    page.wait("details by key", lambda: page.text("#detail-name") == first)
    assert page.js("return document.activeElement.ariaExpanded") == "true"
    time.sleep(3)
    assert focused(page) == first, f"the focus went from {first} to {focused(page)}"
    press(Keys.ESCAPE)
    assert page.js("return $('detail').hidden") and focused(page) == first, focused(page)
    # On a narrow page the details take the table's place, and give it back.
    page.media("light", 400, 800)
    press(Keys.ENTER)
    page.wait("details by key", lambda: page.text("#detail-name") == first)
    assert focused(page) == "detail" and not page.js("return $('list').checkVisibility()"), focused(page)
    press(Keys.TAB)
    assert focused(page) == "close"
    press(Keys.SPACE)
    assert page.js("return $('list').checkVisibility()") and focused(page) == first, focused(page)
    page.media("light", 1440, 900)


def check_screen_reader(page: Page) -> None:
    """What a screen reader is told: a table with its headings, names for all, and no chatter."""
    prefix = page.machine.prefix
    page.open(prefix + "camera")
    time.sleep(1)
    nodes = page.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    roles: dict[str, list[str]] = {}
    for node in nodes:
        if not node.get("ignored"):
            roles.setdefault(node["role"]["value"], []).append(node.get("name", {}).get("value", ""))
    assert len(roles["table"]) >= 3 and len(roles["columnheader"]) >= 9 + 4 and len(roles["rowheader"]) >= 7, roles.keys()
    for role in ("button", "image", "searchbox", "region", "heading"):
        assert all(roles[role]), f"{role}: {roles[role]}"
    assert any("as a picture" in name for name in roles["image"]) and any("Histogram in" in name for name in roles["image"]), roles["image"]
    assert roles["status"], "no live region"
    live = page.js("return [...document.querySelectorAll('[aria-live],[role=status],[role=alert],[role=log]')].map((e) => e.id)")
    assert live == ["said"], live
    page.js("window.said = 0; new MutationObserver(() => window.said++).observe($('said'), { childList: true, characterData: true, subtree: true })")
    time.sleep(4)
    assert page.js("return window.said") == 0, "the live region chatters"
    page.js("choose('')")


def check_reflow(page: Page) -> None:
    for width in (320, 400, 500, 740, 800, 1000, 1200, 1440, 1920):
        page.media("light", width, 800)
        for name in ("", page.machine.prefix + "features"):
            if name:
                page.open(name)
            time.sleep(0.2)
            wide = page.js("return document.scrollingElement.scrollWidth")
            assert wide == width, f"the page is {wide} pixels wide, on {width}, with {name or 'the table'}"
        page.js("choose('')")
    page.media("light", 1440, 900)


def check_removed(page: Page) -> None:
    name = page.machine.prefix + "passing"
    page.machine.put("passing")
    page.wait("a new row", lambda: page.row(name))
    page.open(name)
    subprocess.run([page.machine.judemap, "rm", name], check=True, stdout=subprocess.DEVNULL)
    page.wait("word of its removal", lambda: page.text("#detail-problem") == "It was removed.")
    assert page.text("#said") == f"{name} was removed.", page.text("#said")
    page.wait("a row that goes", lambda: not page.row(name))
    page.machine.put("passing")
    page.wait("it comes back", lambda: page.js("return $('detail-problem').hidden"))
    page.js("choose('')")


def check_empty(page: Page) -> None:
    page.js("$('filter').value = 'no such name'; $('filter').dispatchEvent(new Event('input'))")
    assert page.text("#empty") == "No name has “no such name” in it." and page.js("return $('empty').checkVisibility()")
    page.js("$('filter').value = ''; $('filter').dispatchEvent(new Event('input')); $('pause').click(); take({ rows: [], interval_seconds: 1, time: sample.time })")
    assert "There are no segments or streams" in page.text("#empty") and page.js("return $('empty').checkVisibility() && !$('table').checkVisibility()")
    page.accessible("an empty list")
    page.picture("light-1440-empty")
    page.js("$('pause').click()")
    page.js("$('filter').value = arguments[0]; $('filter').dispatchEvent(new Event('input'))", page.machine.prefix)
    page.wait("the table", lambda: page.row(page.machine.prefix + "camera"))


def check_lost(page: Page, server: subprocess.Popen[bytes]) -> None:
    """A lost connection is told, and made again; another server's page is refused."""
    errors = [entry for entry in page.driver.get_log("browser") if entry["level"] == "SEVERE" and "404" not in entry["message"]]
    assert not errors, errors
    server.send_signal(signal.SIGINT)
    assert server.wait(5) == 0, "the server did not end in order"
    page.wait("word of the lost connection", lambda: page.js("return $('notice').checkVisibility()") and "The connection is lost" in page.text("#notice"))
    assert "The connection is lost" in page.text("#said")
    page.accessible("without a connection")
    page.picture("light-1440-lost")
    port = urllib.parse.urlsplit(page.url).port
    server, url = serve(page.machine, "--addr", f"127.0.0.1:{port}")
    page.wait("word of the other token", lambda: "refuses this page" in page.text("#notice"))
    page.driver.get(url)
    page.wait("the table", lambda: page.row(page.machine.prefix + "camera"))
    assert not page.js("return $('notice').checkVisibility()")
    server.send_signal(signal.SIGINT)
    server.wait(5)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("judemap")
    parser.add_argument("out", type=Path)
    parser.add_argument("--axe", type=Path)
    parser.add_argument("--prefix", default=f"browser-{os.getpid()}-")
    parser.add_argument("--docs", type=Path)
    options = parser.parse_args()
    axe = options.axe.read_text() if options.axe else None
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    machine = Machine(options.judemap, options.prefix)
    try:
        fill(machine)
        server, url = serve(machine)
        with browser() as driver:
            page = Page(driver, url, machine, options.out, axe)
            page.media("light", 1440, 900)
            driver.get(url)
            page.js("$('filter').value = arguments[0]; $('filter').dispatchEvent(new Event('input'))", machine.prefix)
            page.wait("the table", lambda: page.row(machine.prefix + "camera"))
            if options.docs:
                documentation(page, options.docs)
                return
            for check in (check_access, check_table, check_hostile, check_details, check_screen_reader, check_keyboard, check_reflow,
                          check_removed, check_empty, pictures):
                check(page)
                print(f"{check.__name__}: ok", flush=True)
            check_lost(page, server)
            print("check_lost: ok")
    finally:
        machine.end()


if __name__ == "__main__":
    main()
