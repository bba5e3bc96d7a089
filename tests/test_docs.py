"""The documentation: lengths of lines, links, commands, terms that are spelled out; and the pinned versions."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from xlharm.cli.main import app

ROOT = Path(__file__).parents[1]
FOLDERS = ("docs", "grid", "cluster", "recipes", "src")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))

LINK = re.compile(r"\]\(([^)\s]+)\)|^\[[^\]]+\]: (\S+)$", re.MULTILINE)
TERMS = {r"\bOF\b": "occurrence of the fake", r"\bQR\b(?! decomposition)": "quality on the real"}


def lines(page: Path) -> Iterator[tuple[int, str, bool]]:
    """Yield each line's number and text, and whether it is code."""
    fenced = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        fence = line.startswith("```")
        yield number, line, fenced or fence or line.startswith("    ")
        fenced ^= fence


def shown_commands() -> Iterator[tuple[str, str]]:
    """Yield every command that begins with `xlharm `, in code blocks and within lines, and its place."""
    for page in PAGES:
        code = "\n".join(line for _, line, code in lines(page) if code).replace("\\\n", " ").splitlines()
        prose = " ".join(line for _, line, code in lines(page) if not code)
        pieces = [piece.strip() for line in [*code, *re.findall(r"`([^`]+)`", prose)] for piece in line.split(" && ")]
        for piece in pieces:
            command = re.sub(r"^([A-Z_]+=\S+ )+", "", piece)
            if command.startswith("xlharm "):
                yield str(page.relative_to(ROOT)), command


def check(words: list[str]) -> None:
    """Parse a command as the command line does, up to reading files: names, options, their choices."""
    command = typer.main.get_command(app)
    while subcommands := getattr(command, "commands", None):
        if not words or words[0].startswith("-"):
            break
        name, *words = words
        assert name in subcommands, f"no command {name}"
        command = subcommands[name]
    context = command.context_class(command)
    options, _, _ = command.make_parser(context).parse_args(list(words))  # raises if an option is unknown or incomplete
    for parameter in command.params:
        shown = parameter.get_help_record(context) or ("", "")
        choices = re.search(r"<([\w-]+(?:\|[\w-]+)+)>", shown[0])  # as help shows them: --format <table|csv>
        value = options.get(parameter.name)
        placeholder = value is None or str(value).isupper()
        assert not choices or placeholder or value in choices[1].split("|"), f"{shown[0]}: {value}"


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 120


@each_page
def test_lines_have_at_most_100_characters(page: Path) -> None:
    long = [
        number
        for number, line, code in lines(page)
        if not code and not line.startswith("|") and len(re.sub(r"\]\([^)]*\)", "]", line)) > 100
    ]
    assert long == []


@each_page
def test_relative_links_lead_to_files(page: Path) -> None:
    text = "\n".join(line for _, line, code in lines(page) if not code)
    targets = [inline or named for inline, named in LINK.findall(text)]
    files = [target.partition("#")[0] for target in targets if not target.startswith(("http:", "https:", "#"))]
    assert [name for name in files if not (page.parent / name).exists()] == []


@each_page
def test_of_and_qr_are_spelled_out_where_they_first_appear(page: Path) -> None:
    prose = " ".join(" ".join(line for _, line, code in lines(page) if not code).replace("*", "").split())
    for term, meaning in TERMS.items():
        first = re.search(term, prose)
        assert first is None or prose[first.end() :].startswith(f" ({meaning})"), prose[: first.end()][-80:]


@pytest.mark.parametrize(("page", "command"), list(shown_commands()))
def test_commands_that_are_shown_exist(page: str, command: str) -> None:
    check([word for word in shlex.split(command, comments=True)[1:] if word != "…"])


def test_a_command_or_option_that_does_not_exist_is_noticed() -> None:
    for wrong in ("runs grid.yaml", "run grid.yaml --fast", "results grid.yaml --view effect", "run grid.yaml --pack"):
        with pytest.raises(Exception):  # noqa: B017, PT011 - the class is Typer's own
            check(wrong.split())


def pinned(name: str) -> dict[str, str]:
    """Return the versions that a file of requirements pins, by the package's plain name."""
    pins = re.findall(r"^([A-Za-z0-9._-]+)==([^\s\\]+)", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
    return {canonicalize_name(package): version for package, version in pins}


def test_the_lock_with_hashes_and_the_constraints_hold_the_same_versions() -> None:
    constraints = pinned("constraints.txt")
    torch = constraints.pop("torch")
    assert "+" not in torch  # the CPU and the CUDA build have one version here
    assert pinned("requirements.lock") == constraints


def test_every_pinned_package_has_hashes() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    assert re.findall(r"^([\w.-]+==[^\s\\]++)(?! \\\n    --hash=sha256:)", lock, re.MULTILINE) == []


def test_every_dependency_is_pinned_to_a_version_that_it_allows() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for group in project["optional-dependencies"].values() for line in group]
    constraints = pinned("constraints.txt")
    for line in [*project["dependencies"], *extras]:
        requirement = Requirement(line)
        if requirement.name != "xlharm":
            version = constraints[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version, prereleases=True), line
