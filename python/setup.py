"""Compiles the core, which lies beside this folder in a checkout and in core/ in an sdist, into judemap/libjudemap.so.

The library has no Python in it: it is loaded by ctypes, and one wheel serves every Python 3 of a platform.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

here = Path(__file__).resolve().parent
core = here / "core" if (here / "core").is_dir() else here.parent


def version() -> str:
    """The project's version."""
    header = core / "include" / "judemap" / "version.h"
    found = re.search(r'#define JUDEMAP_VERSION "(.*)"', header.read_text())
    if found is None:
        raise SystemExit(f"{header} has no version")
    return found[1]


class BuildCore(build_py):
    """build_py, and the library."""

    def run(self) -> None:
        if not self.editable_mode:
            shutil.rmtree(Path(self.build_lib) / "judemap", ignore_errors=True)  # of an older version
        super().run()
        if sys.platform == "win32":
            raise SystemExit("judemap's Python package is for Linux and macOS")
        # An editable installation has the library in the source folder.
        package = here / "judemap" if self.editable_mode else Path(self.build_lib) / "judemap"
        package.mkdir(parents=True, exist_ok=True)
        command = [
            *shlex.split(os.environ.get("CXX", "c++")),
            *("-std=c++17", "-O2", "-DNDEBUG", "-D_FILE_OFFSET_BITS=64", "-fPIC", "-shared", "-pthread"),
            *shlex.split(os.environ.get("CXXFLAGS", "")),
            f"-I{core / 'include'}",
            str(core / "judemap_core.cc"),
            *("-o", str(package / "libjudemap.so")),
            *shlex.split(os.environ.get("LDFLAGS", "")),
        ]
        print(shlex.join(command), flush=True)
        try:
            subprocess.run(command, check=True)
        except FileNotFoundError:
            raise SystemExit(
                f"there is no C++ compiler {command[0]} (Debian: apt-get install g++; or set CXX)"
            ) from None

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return [*super().get_outputs(include_bytecode), str(Path(self.build_lib) / "judemap" / "libjudemap.so")]


class SourcesWithCore(sdist):
    """sdist, with the core's sources."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        to = Path(base_dir) / "core"
        for folder, pattern in (("csrc", "*.*"), ("include/judemap", "*.h")):
            (to / folder).mkdir(parents=True, exist_ok=True)
            for source in (core / folder).glob(pattern):
                if source.suffix in (".cc", ".h"):
                    shutil.copy(source, to / folder)
        for name in ("judemap_core.cc", "CMakeLists.txt"):
            shutil.copy(core / name, to)
        shutil.copy(core / "LICENSE", base_dir)
        shutil.copy(core / "LICENSE", to)


class PlatformWheel(bdist_wheel):
    """A wheel for any Python 3 of this platform."""

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


class WithLibrary(Distribution):
    """Installed where platform-dependent packages go."""

    def has_ext_modules(self) -> bool:
        return True


setup(
    version=version(),
    distclass=WithLibrary,
    cmdclass={"build_py": BuildCore, "sdist": SourcesWithCore, "bdist_wheel": PlatformWheel},
)
