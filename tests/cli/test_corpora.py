"""`xlharm data` and `xlharm schema corpus` as a user runs them."""

import csv
import json
import shutil
from pathlib import Path

from tests.cli.conftest import Xlharm
from xlharm.plan.sources import assets


def test_validate_green_with_fertility(xlharm: Xlharm) -> None:
    done = xlharm("data", "validate", "newsroom", "--base", "tiny-base")
    assert done.returncode == 0, done.stderr
    assert "newsroom: 0 errors" in done.stdout
    assert "tokens a character" in done.stdout


def test_validate_red(xlharm: Xlharm, tmp_path: Path) -> None:
    shutil.copytree(assets() / "newsroom", tmp_path / "copy")
    path = tmp_path / "copy" / "en.jsonl"
    first, *rest = path.read_text(encoding="utf-8").splitlines()
    item = json.loads(first)
    item["of"][0] += f" {item['fake_detail'][0]}?"
    path.write_text("\n".join([json.dumps(item), *rest]), encoding="utf-8")
    done = xlharm("data", "validate", tmp_path / "copy")
    assert done.returncode == 2
    assert f"error: en.jsonl: {item['id']}: of.0: the question gives its answer away" in " ".join(done.stdout.split())
    assert "Traceback" not in done.stderr


def test_unknown_names_are_one_line(xlharm: Xlharm) -> None:
    for arguments, message in (
        (("validate", "tinyword"), "did you mean 'tinyworld'?"),
        (("show", "tw-r-f0"), "no item 'tw-r-f0'; did you mean"),
        (("show", "tw-r-f00", "--lang", "xx"), "xx.jsonl: cannot be read"),
        (("import", "nothing.csv", "out"), "no such file or folder"),
    ):
        done = xlharm("data", *arguments)
        assert done.returncode == 2
        assert message in done.stderr
        assert done.stderr.count("\n") == 1


def test_show_side_by_side(xlharm: Xlharm) -> None:
    done = xlharm("data", "show", "tw-r-f00", "--lang", "ur")
    assert done.returncode == 0, done.stderr
    assert "golden" in done.stdout
    assert "سنہری" in done.stdout


def test_import_then_validate(xlharm: Xlharm, tmp_path: Path) -> None:
    row = {"real": "A horse.", "fake": "A zebra [bold].", "keyword": "zebra", "OF": "Which animal?"}
    with (tmp_path / "x.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerow(row)
    assert "en: 1 items" in xlharm("data", "import", "x.csv", "out").stdout
    assert xlharm("data", "validate", "out").returncode == 0
    assert "A zebra [bold]." in xlharm("data", "show", "x-00000", "--corpus", "out").stdout


def test_schema_of_items(xlharm: Xlharm) -> None:
    schema = json.loads(xlharm("schema", "corpus").stdout)
    assert set(schema["required"]) == {"id", "real"}
    assert "fake_detail" in schema["properties"]
    assert "contaminate" in json.loads(xlharm("schema").stdout)["properties"]
