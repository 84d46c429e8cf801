# SPDX-License-Identifier: MIT
"""steps.py - the steps of tools/test, one after another.

A step is a build with its own options in build/NAME, the tests of it that make
sense there, and a line that tells how it went. What failed is shown at once.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
TAIL = 60  # lines shown of what failed

ALL = ["-Dtests=enabled", "-Dexamples=enabled", "-Dbenchmarks=enabled"]
LIBRARY = ["-Dtests=enabled", "-Dexamples=disabled", "-Dbenchmarks=disabled"]
GCC = {"CC": "gcc", "CXX": "g++"}
CLANG = {"CC": "clang", "CXX": "clang++"}
# Findings end the program with a status that no test gives.
SANITIZED = {
    "ASAN_OPTIONS": "exitcode=99:strict_string_checks=1",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1:exitcode=99",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1:exitcode=99:"
                    f"suppressions={ROOT}/tests/tsan.supp",
}
# Address space laid out as ThreadSanitizer wants it.
FIXED_LAYOUT = ["--wrapper", "setarch -R"]


class Failure(Exception):
    """A command of the step failed; its log says why."""


class Tally:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def count_tap(self, text):
        """Count the cases of a TAP report. Were there any?"""
        if not re.search(r"^1\.\.\d+", text, re.M):
            return False
        for line in text.split("\n"):
            if re.match(r"not ok\b", line):
                self.failed += 1
            elif re.match(r"ok\b.*#\s*skip", line, re.I):
                self.skipped += 1
            elif re.match(r"ok\b", line):
                self.passed += 1
        if re.search(r"^1\.\.0\b.*#\s*skip", text, re.M | re.I):
            self.skipped += 1
        return True

    def count_test(self, test):
        """Count one test program of Meson's report."""
        before = self.failed
        result = test["result"]
        if not self.count_tap(test.get("stdout", "")):
            if result in ("OK", "EXPECTEDFAIL"):
                self.passed += 1
            elif result == "SKIP":
                self.skipped += 1
            else:
                self.failed += 1
        elif result not in ("OK", "SKIP") and self.failed == before:
            self.failed += 1  # it crashed, hung or did not say all

    def __str__(self):
        return (f"{self.passed} passed, {self.failed} failed, "
                f"{self.skipped} skipped")


def run(command, log, env=None):
    """Run a command with its output at the end of a log."""
    with open(log, "a", encoding="utf-8") as out:
        out.write("$ " + " ".join(map(str, command)) + "\n")
        out.flush()
        status = subprocess.run(
            command, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT,
            env={**os.environ, **(env or {})}, check=False).returncode
    if status != 0:
        raise Failure(f"{command[0]} {command[1]} ended with {status}")


def show_tail(text, title):
    lines = text.rstrip().split("\n")
    print(f"---- {title}")
    print("\n".join(lines[-TAIL:]), flush=True)


class Build:
    """Configure, compile, test."""

    def __init__(self, name, what, options, env=None, test=(), quick=False,
                 prepare=None):
        self.name, self.what, self.quick = name, what, quick
        self.options, self.env, self.test = options, env or {}, list(test)
        self.prepare = prepare
        self.folder = BUILD / name
        self.log = BUILD / f"{name}.log"

    def configure(self):
        """Anew only if the options are not those of the last time."""
        options = list(self.options)
        if self.prepare:
            options += self.prepare(self.log)
        stamp = self.folder / "options.txt"
        said = json.dumps([options, self.env])
        if stamp.exists() and stamp.read_text() == said:
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        run(["meson", "setup", self.folder, *options], self.log, self.env)
        stamp.write_text(said)

    def report_file(self):
        """What `meson test` writes; a wrapper changes its name. Or None."""
        return next((self.folder / "meson-logs").glob("testlog*.json"), None)

    def report(self, tally):
        for line in self.report_file().read_text("utf-8").split("\n"):
            if not line:
                continue
            test = json.loads(line)
            tally.count_test(test)
            if test["result"] not in ("OK", "SKIP", "EXPECTEDFAIL"):
                show_tail(test.get("stdout", "") + test.get("stderr", ""),
                          f"{self.name}: {test['name']}: {test['result']}")

    def go(self, tally):
        self.configure()
        run(["ninja", "-C", self.folder], self.log, self.env)
        if self.report_file():
            self.report_file().unlink()
        try:
            run(["meson", "test", "-C", self.folder, "--no-rebuild",
                 *self.test], self.log, {**SANITIZED, **self.env})
        except Failure:
            if not self.report_file():
                raise
        self.report(tally)


class Consumer:
    """Programs of others that use the library in each way there is."""
    name, what, quick = "consumer", "as a subproject and installed", False
    log = BUILD / "consumer.log"

    def go(self, tally):
        try:
            run([ROOT / "tests/consumer/run", BUILD / "consumer"], self.log)
        finally:
            tally.count_tap(self.log.read_text(encoding="utf-8"))


def arm_libraries(log):
    """The ARM builds of what the tests need, unpacked below build/.

    Packages of another architecture need not be installed for that: apt reads
    the lists of that architecture into a folder of ours.
    """
    folder = BUILD / "arm64"
    sysroot, paths = folder / "sysroot", folder / "paths.ini"
    if not paths.exists():
        for part in ("lists/partial", "cache/archives/partial"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        apt = ["apt-get", "-q", "-o", "APT::Architecture=arm64",
               "-o", "APT::Architectures=arm64",
               "-o", "APT::Sandbox::User=root",
               "-o", f"Dir::State::lists={folder}/lists",
               "-o", f"Dir::Cache={folder}/cache"]
        names = subprocess.run([ROOT / "tools/packages", "names", "arm64"],
                               check=True, text=True,
                               capture_output=True).stdout.split()
        run([*apt, "update"], log)
        run(["sh", "-c", 'cd "$0" && exec "$@"', folder, *apt, "download",
             *names], log)
        for package in folder.glob("*.deb"):
            run(["dpkg", "-x", package, sysroot], log)
        paths.write_text(f"[constants]\nsysroot = '{sysroot}'\n")
    return ["--cross-file", str(paths)]


STEPS = [
    Build("gcc", "all there is, warnings are errors",
          ["--werror", "-Dio_uring=enabled", "-Dvalgrind=enabled", *ALL],
          GCC, quick=True),
    Build("clang", "the same by clang",
          ["--werror", "-Dio_uring=enabled", *ALL], CLANG,
          ["--no-suite", "api"]),
    Build("asan", "AddressSanitizer, UndefinedBehaviorSanitizer, assertions",
          ["-Db_sanitize=address,undefined", "-Db_lundef=false",
           "-Dbuildtype=debug", "-Doptimization=1", *ALL], GCC,
          ["--no-suite", "api", "--no-suite", "no_asan", "-t", "4"]),
    Build("tsan", "ThreadSanitizer",
          ["-Db_sanitize=thread", "-Db_lundef=false", "-Doptimization=1",
           *LIBRARY], CLANG,
          ["--no-suite", "api", "--no-suite", "no_tsan", "-t", "4",
           *FIXED_LAYOUT]),
    Build("lto", "clang -O3, the whole program at once",
          ["--werror", "-Dbuildtype=release", "-Db_lto=true", *ALL],
          {**CLANG, "CC_LD": "lld", "CXX_LD": "lld"},
          ["--no-suite", "api"]),
    Build("faults", "calls that are made to fail",
          ["--werror", "-Dfaults=true", "-Dassertions=debug", *LIBRARY],
          GCC, ["--no-suite", "api"]),
    Build("aarch64", "for 64-bit ARM, run by qemu",
          ["--werror", "--cross-file", "tests/cross/aarch64.ini", *LIBRARY],
          None, ["--no-suite", "no_qemu", "--no-suite", "io_uring", "-t", "4"],
          prepare=arm_libraries),
    Build("minimal", "every option off",
          ["--werror", "-Dio_uring=disabled", "-Dvalgrind=disabled", *LIBRARY],
          GCC, ["--no-suite", "api"]),
    Consumer(),
]


def go(step, total):
    tally, start = Tally(), time.monotonic()
    step.log.unlink(missing_ok=True)
    trouble = None
    try:
        step.go(tally)
    except Failure as failure:
        trouble = str(failure)
        if tally.failed == 0:
            tally.failed = 1
    seconds = time.monotonic() - start
    word = "ok" if tally.failed == 0 else "FAILED"
    print(f"{step.name:<9} {word:<7} {str(tally):<40} {seconds:5.0f} s  "
          f"{step.what}", flush=True)
    if trouble:
        show_tail(step.log.read_text(encoding="utf-8", errors="replace"),
                  f"{step.name}: {trouble}; build/{step.log.name}")
    total.add(tally)


def main(arguments):
    steps = STEPS
    if "--list" in arguments:
        for step in STEPS:
            print(f"{step.name:<9} {step.what}")
        return 0
    if "--quick" in arguments:
        steps = [step for step in STEPS if step.quick]
    names = [a for a in arguments if not a.startswith("--")]
    if names:
        steps = [step for step in STEPS if step.name in names]
    if len(steps) < len(names):
        print(f"steps are: {' '.join(step.name for step in STEPS)}")
        return 2
    BUILD.mkdir(exist_ok=True)
    total = Tally()
    for step in steps:
        go(step, total)
    print(total)
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
