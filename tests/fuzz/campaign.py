"""The coverage-guided campaign: `python campaign.py TARGET SECONDS FOLDER` (scripts/fuzz.sh calls it).

FOLDER keeps the corpus from run to run, and what was found. Needs atheris (`pip install 'hoist[fuzz]'`).
"""

from __future__ import annotations

import json
import json.decoder
import json.scanner
import pickle
import sys
import warnings
import zipfile
from pathlib import Path

import atheris

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1] / "src")]

# First, as it is large and not what is looked at.
import torch  # noqa: E402, F401

with atheris.instrument_imports(include=["hoist"]):
    from fuzz_table import TARGETS


def _steer_by_json() -> None:
    """JSON read by the library's Python code instead of its C code, so that the search sees what a text reaches."""
    decoder, scanner = vars(json.decoder), vars(json.scanner)
    for function in (decoder["JSONObject"], decoder["JSONArray"], decoder["py_scanstring"], scanner["py_make_scanner"]):
        atheris.instrument_func(function)
    decoder["scanstring"] = decoder["py_scanstring"]
    scanner["make_scanner"] = scanner["py_make_scanner"]
    vars(json)["_default_decoder"] = json.JSONDecoder()


_INPUT_SECONDS = 10
_MEMORY_MIB = 3000
_LONGEST = {"checkpoint": 8192, "archive": 8192}


def _instrument_library() -> None:
    """The parts of the standard library that parse for Hoist: they steer the search too."""
    for owner in (pickle._Unpickler, zipfile.ZipFile, zipfile.ZipInfo):
        for value in vars(owner).values():
            if callable(value) and hasattr(value, "__code__"):
                atheris.instrument_func(value)
    for name in ("_EndRecData", "_EndRecData64"):
        atheris.instrument_func(getattr(zipfile, name))


def _escaped(word: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in word)


def main(name: str, seconds: str, folder: str) -> None:
    """Fuzz one target for so many seconds."""
    target = TARGETS[name]
    warnings.simplefilter("ignore")
    _instrument_library()
    _steer_by_json()
    corpus, seeds = Path(folder) / "corpus" / name, Path(folder) / "seeds" / name
    found = Path(folder) / "found"
    for each in (corpus, seeds, found):
        each.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(target.seeds()):
        (seeds / f"{number:03}").write_bytes(data)
    words = Path(folder) / f"{name}.dict"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in target.words))
    options = [
        f"-max_total_time={seconds}",
        f"-timeout={_INPUT_SECONDS}",
        f"-rss_limit_mb={_MEMORY_MIB}",
        f"-max_len={_LONGEST.get(name, 4096)}",
        f"-dict={words}",
        f"-artifact_prefix={found}/{name}-",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus), str(seeds)], lambda data: target.check(data) and None)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:4])
