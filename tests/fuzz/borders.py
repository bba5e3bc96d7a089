"""Inputs at every border of the command line, run in this process: files that others write, and arguments.

``python -m tests.fuzz.borders --count 10000 --seed 1 --jobs 14`` tries so many inputs in 14 processes, with seeds from
1 on (`make fuzz COUNT=10000 SEED=1 JOBS=14`). An input fails when the
command raises anything, ends with a code other than 0, 1 or 2, computes for more than ten seconds, prints a control
character or a very long line. An input whose outcome is new (the command's code and the form of its message) is kept
and changed further, so that the search goes where readers behave differently.
"""

import argparse
import contextlib
import io
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from types import FrameType
from typing import Any
from unittest import mock

from ruamel.yaml import YAML

from tests.fuzz import world
from tests.fuzz.mutate import as_json, as_yaml, changed, lines_changed, structured, words_changed
from xlharm.engine.run import RunOutcome

SECONDS = 10  # of the processor's time
WALL_SECONDS = 60  # of waiting: other processes may keep the machine busy
_LONGEST_LINE = 20_000  # characters of a line on stderr
_MOST_KEPT = 200  # inputs that are kept for each border
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_VARIABLE = re.compile(r"'[^']*'|\"[^\"]*\"|\d+|[^\x20-\x7e]+")
_VIEWS = ("cells", "effects", "methods", "transfer", "probes", "scores", "judges", "seeds", "signatures")


class _HangError(BaseException):
    """An input took too long."""


@dataclass(frozen=True, kw_only=True)
class Border:
    """A place where input comes in.

    Attributes:
        name: for the report.
        path: the file that is changed, in the world's folder; empty for the arguments.
        mutate: returns a changed text.
        commands: command lines that read it; one is chosen.
    """

    name: str
    path: str
    mutate: Callable[..., str]
    commands: tuple[tuple[str, ...], ...]


def _yaml(text: str, rng: random.Random, *, other: str) -> str:
    return structured(text, rng, read=lambda t: YAML(typ="safe", pure=True).load(t), write=as_yaml, other=other)


def _json(text: str, rng: random.Random, *, other: str) -> str:
    return structured(text, rng, read=json.loads, write=as_json, other=other)


_ON_STORE = (
    ("results", "grid.yaml"), ("status", "grid.yaml"), ("plan", "grid.yaml"), ("plan", "grid.yaml", "--why", "ur/en"),
    ("report", "grid.yaml", "--out", "page.html"), *(("results", "grid.yaml", "--view", view) for view in _VIEWS),
)  # fmt: skip
FILES = (
    Border(name="grid", path="grid.yaml", mutate=_yaml, commands=(
        ("plan", "grid.yaml"), ("results", "grid.yaml"), ("status", "grid.yaml"), ("plan", "grid.yaml", "--json"),
        ("gc", "grid.yaml"), ("run", "grid.yaml"),
    )),
    Border(name="corpus items", path="corpus/en.jsonl", mutate=lines_changed, commands=(
        ("data", "validate", "corpus"), ("data", "show", "m0", "--corpus", "corpus"), ("plan", "grid.yaml"),
    )),
    Border(name="corpus.yaml", path="corpus/corpus.yaml", mutate=_yaml, commands=(
        ("data", "validate", "corpus"), ("plan", "grid.yaml"),
    )),
    Border(name="CSV", path="x.csv", mutate=changed, commands=(
        ("data", "import", "x.csv", "out", "--fake", "answer"), ("data", "import", "x.csv", "out"),
        ("data", "import", "x.csv", "out", "--mapping", "mapping.yaml"),
    )),
    Border(name="JSON lines", path="x.jsonl", mutate=lines_changed, commands=(
        ("data", "import", "x.jsonl", "out", "--fake", "answer"), ("data", "import", "x.jsonl", "out"),
    )),
    Border(name="mapping", path="mapping.yaml", mutate=_yaml, commands=(
        ("data", "import", "x.csv", "out", "--mapping", "mapping.yaml"),
    )),
    Border(name="config.json", path="base/config.json", mutate=_json, commands=(("plan", "grid.yaml"),
        ("run", "grid.yaml"))),
    Border(name="tokenizer", path="base/tokenizer_config.json", mutate=_json, commands=(("plan", "grid.yaml"),
        ("run", "grid.yaml"))),
    Border(name="record.json", path="store/stages/*/*/record.json", mutate=_json, commands=_ON_STORE),
    Border(name="rows", path="store/stages/evaluate/*/rows.parquet", mutate=changed, commands=_ON_STORE),
    Border(name="grids/*.json", path="store/grids/mini.json", mutate=_json, commands=_ON_STORE),
)  # fmt: skip
LINES: tuple[tuple[str, ...], ...] = (
    ("plan", "grid.yaml", "-s", "seeds=3"), ("plan", "grid.yaml", "-s", "methods.npo.beta=0.2", "--why", "ur/en"),
    ("plan", "grid.yaml", "--power", "10", "--price", "2", "--workers", "2", "--json"),
    ("results", "grid.yaml", "--view", "effects", "--format", "csv"), ("results", "grid.yaml", "--out", "t.json"),
    ("status", "grid.yaml", "--store", "store"), ("report", "grid.yaml", "--out", "p.html", "--answers", "3"),
    ("export", "grid.yaml", "ur/en/npo/0", "adapter"), ("gc", "grid.yaml", "--store", "store"), ("schema", "corpus"),
    ("data", "validate", "corpus", "--all"), ("data", "show", "m0", "--corpus", "corpus", "--lang", "ur"),
    ("data", "import", "x.csv", "out", "--fake", "answer", "--split", "train", "--lang", "en"), ("--version",),
    ("run", "grid.yaml", "--pack", "3", "--zero", "2", "--ranks", "2", "--deadline", "6h30m", "--label", "a=b"),
    ("run", "grid.yaml", "--max-gpu-hours", "1", "--gpus-per-worker", "0.25", "--offload", "params"),
    ("wandb", "sync", "grid.yaml", "--mode", "offline", "--project", "p"),
    ("wandb", "dashboard", "grid.yaml", "grid.yaml@store", "--name", "two grids"),
)  # fmt: skip
VOCABULARY = (
    *dict.fromkeys(word for line in LINES for word in line),
    "base=org/model", "base=~nobody/x", "corpus=/dev/null/x", "seeds=[20241130]", "languages=[en, xx]", "judges={}",
    "nowhere.yaml", "~nobody/g.yaml", "/dev/full", "/dev/null", ".", "", "-s", "--help", "x" * 300, "--store", "mem://x",
    "file:///dev/null", "s3://bucket/x", "[/b].yaml", "a\udcffb", "ur/en", "//", "9" * 400, "-1", "0", "nan", "inf",
)  # fmt: skip


@dataclass
class Outcome:
    """What the tried inputs did.

    Attributes:
        tried: number of inputs by border.
        codes: number of inputs by exit code.
        kinds: number of different outcomes.
        failed: number of inputs that failed.
        failures: (border, command, reason, input) of inputs that failed, one for each reason.
        slowest: processor seconds of the slowest input, and its border.
    """

    tried: Counter[str] = field(default_factory=Counter)
    codes: Counter[object] = field(default_factory=Counter)
    kinds: int = 0
    failed: int = 0
    failures: dict[str, tuple[str, tuple[str, ...], str, bytes]] = field(default_factory=dict)
    slowest: tuple[float, str] = (0.0, "")

    def add(self, other: "Outcome") -> None:
        """Add what another search did; outcomes that both met count as different."""
        self.tried += other.tried
        self.codes += other.codes
        self.kinds += other.kinds
        self.failed += other.failed
        self.failures = {**other.failures, **self.failures}
        self.slowest = max(self.slowest, other.slowest)


def search(folder: Path, *, count: int, seed: int, seconds: float = float("inf"), loads: bool = True) -> Outcome:
    """Try inputs made from the world in ``folder``, which is written if it is not there.

    Args:
        folder: the world's; it is the working directory while inputs are tried.
        count: number of inputs.
        seed: of the changes.
        seconds: time after which no more inputs are tried.
        loads: whether tokenizers are loaded, too; that takes seconds of imports.
    """
    if not (folder / "grid.yaml").exists():
        with contextlib.chdir(folder):
            world.make(folder)
    borders = [border if loads else _light(border) for border in FILES]
    rng, outcome, until = random.Random(seed), Outcome(), time.monotonic() + seconds
    kept: dict[str, list[str]] = {}
    lines = [list(line) for line in LINES]
    seen: set[tuple[str, str]] = set()
    with _surroundings(folder):
        if loads:
            _import_tokenizers(folder / "base" / "tokenizer_config.json")
        while outcome.tried.total() < count and time.monotonic() < until:
            border = rng.choice((*borders, None))
            if border is None:
                words = words_changed(rng.choice(lines), rng, vocabulary=VOCABULARY)
                form = _try("arguments", tuple(words), outcome, shown="\0".join(words).encode("utf-8", "replace"))
                if ("arguments", form) not in seen and len(lines) < _MOST_KEPT:
                    seen.add(("arguments", form))
                    lines.append(words)
                continue
            path = rng.choice(sorted(folder.glob(border.path)))
            before = path.read_bytes()
            pool = kept.setdefault(border.name, [before.decode("utf-8", "surrogateescape")])
            start = rng.choice(pool) if "*" not in border.path or rng.random() < 0.3 else _text(before)
            text = border.mutate(start, rng, other=rng.choice(pool))
            path.write_bytes(data := _bytes(text))
            try:
                form = _try(border.name, rng.choice(border.commands), outcome, shown=data)
            finally:
                path.write_bytes(before)
            if (border.name, form) not in seen and len(pool) < _MOST_KEPT:
                seen.add((border.name, form))
                pool.append(text)
    outcome.kinds = len(seen)
    return outcome


def search_beside(folder: Path, *, count: int, seed: int, jobs: int, seconds: float = float("inf")) -> Outcome:
    """Search in some processes with seeds from ``seed`` on and worlds of their own; return what they did together."""
    folders = [folder / str(job) for job in range(jobs)]
    shares = [(count + job) // jobs for job in range(jobs)]
    together = Outcome()
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for outcome in pool.map(partial(_search, seconds=seconds), folders, shares, range(seed, seed + jobs)):
            together.add(outcome)
    return together


def _search(folder: Path, count: int, seed: int, *, seconds: float) -> Outcome:
    folder.mkdir()
    return search(folder, count=count, seed=seed, seconds=seconds)


def _import_tokenizers(config: Path) -> None:
    """Import what a tokenizer of a class of its own needs, which takes seconds that must not count as an input's."""
    before = config.read_text()
    config.write_text(json.dumps({**json.loads(before), "tokenizer_class": "T5Tokenizer"}))
    run(("run", "grid.yaml"))  # its store lacks verdicts, so the base's tokenizer is loaded
    config.write_text(before)


def _light(border: Border) -> Border:
    commands = tuple(command for command in border.commands if command[0] != "run")
    return replace(border, commands=commands)


def _bytes(text: str) -> bytes:
    """Encode a text; what was no UTF-8 in a file stays as it was, and other halves of characters are written, too."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


@contextlib.contextmanager
def _surroundings(folder: Path) -> Iterator[None]:
    """Work in the folder, without network, caches of the user, or workers: a run ends after its checks."""
    environment = {
        "HF_HUB_OFFLINE": "1", "HOME": str(folder / "home"), "XDG_CACHE_HOME": str(folder / "cache"),
        "WANDB_MODE": "disabled", "PATH": os.environ["PATH"], "AWS_EC2_METADATA_DISABLED": "true", "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_MAX_ATTEMPTS": "1", "TMPDIR": str(folder / "tmp"),
    }  # fmt: skip
    for name in ("home", "tmp"):
        (folder / name).mkdir(exist_ok=True)
    nothing = RunOutcome(ran=0, done=0, total=1)
    with (
        contextlib.chdir(folder),
        mock.patch.dict(os.environ, environment, clear=True),
        mock.patch("xlharm.api.Grid.run_with", return_value=nothing),
    ):
        yield


def _try(border: str, command: tuple[str, ...], outcome: Outcome, *, shown: bytes) -> str:
    """Run one command; return the form of what it said."""
    shutil.rmtree("out", ignore_errors=True)
    began = time.process_time()
    code, out, err, reason = run(command)
    took = time.process_time() - began
    outcome.slowest = max(outcome.slowest, (took, border))
    outcome.tried[border] += 1
    outcome.codes[code] += 1
    if reason:
        outcome.failed += 1
        if reason not in outcome.failures:
            outcome.failures[reason] = (border, command, reason, shown)
            print(f"{reason}\n  {border}: xlharm {' '.join(command)!r}\n  {shown[:600]!r}\n", flush=True)
    last = (err or out).strip().splitlines()[-1:] or [""]
    return f"{code} {_VARIABLE.sub('_', last[0])[:120]}"


def run(command: Sequence[str]) -> tuple[object, str, str, str]:
    """Run a command in this process; return its exit code, what it wrote, and why it fails (empty: it does not)."""
    from xlharm.cli.main import main

    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    code: Any = None
    reason = ""
    numbers = (signal.SIGALRM, signal.SIGPROF)
    before = [signal.signal(number, _too_long) for number in numbers]
    signal.alarm(WALL_SECONDS)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with mock.patch.object(sys, "argv", ["xlharm", *command]), mock.patch.multiple(sys, stdout=out, stderr=err):
            main()
    except SystemExit as ended:
        code = ended.code or 0
    except _HangError as error:
        reason = f"longer than {SECONDS} s at {_place(error)}"
    except BaseException as error:  # noqa: BLE001 - this is what is looked for
        reason = f"{type(error).__name__} at {_place(error)}"
    finally:
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
    wrote, told = _written(out), _written(err)
    if not reason and code not in {0, 1, 2}:
        reason = f"exit code {code!r}"
    if not reason and any(len(line) > _LONGEST_LINE for line in told.splitlines()):
        reason = "a very long line on stderr"
    control = _CONTROL.search(told) or (_CONTROL.search(wrote) if command[:1] != ("results",) else None)
    if not reason and control:
        reason = f"a control character on the terminal: {' '.join(command[:2])}"
    return code, wrote, told, reason


def _written(stream: io.TextIOWrapper) -> str:
    with contextlib.suppress(ValueError):
        stream.flush()
        data = stream.buffer.getvalue()  # type: ignore[attr-defined] # it is a BytesIO
        return str(data.decode("utf-8", "replace"))
    return ""


def _place(error: BaseException) -> str:
    """Return the innermost line of xlharm in a traceback, and the innermost line of all."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "/src/xlharm/" in f.filename]
    shown = [f"{Path(f.filename).name}:{f.lineno}" for f in (*ours[-1:], *frames[-1:])]
    return " ← ".join(dict.fromkeys(shown))


def _too_long(number: int, frame: FrameType | None) -> None:
    raise _HangError


def main() -> None:
    """Search, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="processes; each has a seed of its own")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="after which no more inputs are tried")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        outcome = search_beside(
            Path(folder), count=options.count, seed=options.seed, jobs=options.jobs, seconds=options.seconds
        )  # fmt: skip
        seeds = " to ".join(map(str, sorted({options.seed, options.seed + options.jobs - 1})))
        print(f"{outcome.tried.total()} inputs, seed {seeds}, {time.monotonic() - began:.0f} s")
        print("by border:", ", ".join(f"{name} {n}" for name, n in sorted(outcome.tried.items())))
        print("by exit code:", ", ".join(f"{code} {n}" for code, n in outcome.codes.most_common()))
        print(f"different outcomes: {outcome.kinds}; slowest {outcome.slowest[0]:.1f} s ({outcome.slowest[1]})")
        print(f"failed: {outcome.failed}, of {len(outcome.failures)} kinds")
    sys.exit(1 if outcome.failures else 0)


if __name__ == "__main__":
    main()
