#!/usr/bin/env python3
"""Counts what tests passed, failed and were skipped, in the output of `go test -v` and ctest. For test/platforms.sh.

    tally.py PLATFORM STATUS SECONDS LOG WHY

Prints the failed tests with what they printed, the skipped ones with their reasons, and a row for the table. STATUS is
the exit status of what wrote LOG; 77 says that the platform can't be tested here, and the file WHY says why.
"""

import re
import sys

platform, status, seconds, log, why = sys.argv[1:]
lines = open(log, encoding="utf-8", errors="replace").read().splitlines()

if status == "77":
    print(f"SKIP {platform}: {open(why, encoding='utf-8').read().strip()}")
    print(f"| {platform:16} | not run: see above |")
    sys.exit(0)

results = {}  # of a package and a test: PASS, FAIL, or why it was skipped
made = {}
again = []  # what passed at the second try
unnamed = {}  # Go's tests, until the line after them that names their package


def note(package, tests):
    """Keeps what the tests of a package did; at the second try, what they did then."""
    for name, result in tests.items():
        if result == "PASS" and results.get((package, name)) == "FAIL":
            again.append(name)
        if result == "PASS" or results.get((package, name)) != "PASS":
            results[package, name] = result
    tests.clear()


hung = False
for at, line in enumerate(lines):
    # Go: the tests at the top; a subtest counts as a part of its test. One that skips says why in the lines around.
    if match := re.match(r"--- (PASS|FAIL|SKIP): (\S+)", line):
        result, name = match.groups()
        if result == "SKIP":
            near = [other.strip() for other in lines[max(0, at - 12):at][::-1] + lines[at + 1:at + 4]]
            result = next((other for other in near if "SKIP" in other and not other.startswith("---")), "")
            result = re.sub(r"^\S+\.go:\d+: ", "", result) or "it does not say why"
        unnamed[name] = result
    # Its time was up: Go names the tests that were running, each subtest after its test.
    elif re.match(r"\s*running tests:", line):
        hung = True
    elif hung and (match := re.match(r"\s+(Test[^\s/]*)(/\S*)? \(", line)):
        unnamed[match.group(1)] = "FAIL"
    elif match := re.match(r"(?:ok|FAIL)\s+(\S+/\S+)", line):
        note(match.group(1), unnamed)
        hung = False
    # What can't run here.
    elif match := re.match(r"--- (LINKED|COMPILED): ", line):
        made[match.group(1).lower()] = made.get(match.group(1).lower(), 0) + 1
    # ctest: a line for each.
    elif match := re.match(r"\s*\d+/\d+ Test\s+#\d+: (\S+) \.+\s*(\*+)?(Passed|Failed|Skipped|Timeout|.*Exception|Not Run)", line):
        name, _, result = match.groups()
        if result == "Passed":
            result = "PASS"
        elif result == "Skipped":
            reason = next((at for at, other in enumerate(lines) if other.startswith(f"[  SKIPPED ] {name} (")), 0)
            while reason and not lines[reason].endswith(": Skipped"):
                reason -= 1
            result = lines[reason + 1] if reason else "it does not say why"
        else:
            result = "FAIL"
        note("", {name: result})
note("", unnamed)

passed = sum(result == "PASS" for result in results.values())
failed = [name for (_, name), result in results.items() if result == "FAIL"]
skipped = [(name, result) for (_, name), result in results.items() if result not in ("PASS", "FAIL")]


def excerpts():
    """Where the log says why: what each failed test and package printed, 40 lines at most, and the end."""
    for at, line in enumerate(lines):
        if match := re.match(r"--- FAIL: (\S+)", line):
            start = at
            while start > max(0, at - 40) and not re.match(rf"=== RUN\s+{re.escape(match.group(1))}$", lines[start]):
                start -= 1
            end = at + 1
            while end < min(len(lines), at + 40) and not re.match(r"=== RUN|--- ", lines[end]):
                end += 1
            yield start, end
        elif line.startswith("panic: "):
            yield at, min(len(lines), at + 10)
        elif re.match(r"FAIL\s+\S+/", line):
            yield max(0, at - 15), at + 1
        elif re.match(r"\s*\d+/\d+ Test .*\*\*\*(?!Skipped)", line):
            end = at + 1
            while end < min(len(lines), at + 40) and not re.match(r"\s*Start\s+\d+:", lines[end]):
                end += 1
            yield at, end
    yield max(0, len(lines) - 20), len(lines)


for name in again:
    print(f"passed at the second try: {name}")
for name, reason in skipped:
    print(f"skipped {name}: {reason}")
if failed or status != "0":
    # Go says this of a package also if all its tests passed, as of one that did not build, crashed, or left a process.
    packages = [line.split()[1] for line in lines if re.match(r"FAIL\s+\S+/", line)]
    print(f"FAILED {platform}: {', '.join(failed + packages) or 'see the end of the log'}")
    for start, end in excerpts():
        print("\n".join(lines[start:end]), "...", sep="\n")
counts = [f"{count:4} {what}" for what, count in made.items()] or [
    f"{passed:4} passed", f"{len(failed):3} failed", f"{len(skipped):3} skipped"]
print(f"| {platform:16} | {' | '.join(counts)} | {seconds:>4} s |")
sys.exit(1 if failed or status != "0" else 0)
