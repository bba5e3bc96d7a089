"""Every mistake is one line on stderr, exit code 2, no traceback, nothing lost."""

from pathlib import Path

import pytest

from tests.cli.conftest import Xlharm


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-s", "languages=[en, xx]"], "languages: corpus"),
        (["-s", "contaminate=[none, dee]"], "has no language 'dee'; did you mean 'de'?"),
        (["-s", "langages=[en]"], "langages: unknown key; did you mean 'languages'?"),
        (["-s", "contaminate=[none]", "-s", "exclude=[]"], "`source` stands for the contamination language"),
        (["-s", "methods.npo.learning_rate=-1"], "methods.npo.learning_rate: input should be greater than 0, found -1"),
        (
            ["-s", "corpus=nowhere"],
            (
                "neither a shipped corpus (bulletin, bulletin-dev, newsroom, stereotypes, tinyworld, tinyworld-dev, "
                "toxic-style) nor a folder"
            ),
        ),
        (["-s", "base=tiny-bas"], "did you mean 'tiny-base'?"),
        (["-s", "base=org/model"], "revision: a base from the hub needs a fixed commit"),
        (["-s", "base=org/model", "-s", "revision=main"], "revision: a base from the hub needs a fixed commit"),
        (["-s", "methods.npo.mix={xx: 1}"], "methods.npo.mix: the grid has no language 'xx'"),
        (["-s", "steps"], "expected key=value"),
    ],
)
@pytest.mark.parametrize("name", ["plan", "run"])
@pytest.mark.slow
def test_one_line_and_code_two(
    xlharm_here: Xlharm, grid_file: Path, name: str, arguments: list[str], message: str
) -> None:
    done = xlharm_here(name, grid_file, *arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["plan", "run"])
def test_a_place_for_no_store(xlharm_here: Xlharm, grid_file: Path, name: str) -> None:
    done = xlharm_here(name, grid_file, "--store", "/dev/null/store")
    assert done.returncode == 2, done.stderr
    assert "--store /dev/null/store: cannot be read: " in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_a_layer_that_the_base_has_not_is_told_before_workers_start(xlharm_here: Xlharm, grid_file: Path) -> None:
    done = xlharm_here("run", grid_file, "-s", "lora.target_modules=[q_proj, gat_proj]")
    assert done.returncode == 2
    assert "lora.target_modules: the base has no layer 'gat_proj'; did you mean 'gate_proj'?" in done.stderr
    assert "workers" not in done.stderr + done.stdout


@pytest.mark.parametrize("name", ["plan", "run"])
def test_a_base_without_a_chat_template_is_told_before_workers_start(
    xlharm_here: Xlharm, grid_file: Path, name: str
) -> None:
    done = xlharm_here(name, grid_file, "-s", "prompt=chat")
    assert done.returncode == 2
    assert "error: mini: prompt: the base's tokenizer has no chat template: take an instr" in done.stderr
    assert "workers" not in done.stderr + done.stdout


@pytest.mark.slow
def test_missing_grid(xlharm: Xlharm, grid_file: Path) -> None:
    done = xlharm("plan", grid_file.with_name("minni.yaml"))
    assert done.returncode == 2
    assert "no such grid file; did you mean 'mini.yaml'?" in done.stderr


def test_unknown_cell_and_key(xlharm_here: Xlharm, grid_file: Path) -> None:
    for arguments in (["ask", grid_file, "xx/en", "?"], ["plan", grid_file, "--why", "xx/en"]):
        done = xlharm_here(*arguments)
        assert done.returncode == 2
        assert "no such cell" in done.stderr
    done = xlharm_here("plan", grid_file, "--why", "zzzz")
    assert done.returncode == 2
    assert "no stage's key begins so" in done.stderr


def test_a_table_for_a_file_of_unknown_form(xlharm_here: Xlharm, grid_file: Path, tmp_path: Path) -> None:
    done = xlharm_here("results", grid_file, "--out", tmp_path / "table.xlsx")
    assert (done.returncode, done.stderr.count("say --format csv, json or parquet")) == (2, 1)
    done = xlharm_here("results", grid_file, "--out", tmp_path / "table.csv")
    assert done.returncode == 0
    assert (tmp_path / "table.csv").read_text().startswith("grid,cell,")


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([], "--view contrast: expected two cells, as in"),
        (["de/en"], "--view contrast: expected two cells, as in"),
        (["de/en", "de/fr"], "cell 'de/fr': no such cell"),
        (["de/en", "de/en/npo/0"], "both are the same cell"),
    ],
)
def test_a_contrast_of_other_than_two_cells(
    xlharm_here: Xlharm, grid_file: Path, cells: list[str], message: str
) -> None:
    done = xlharm_here("results", grid_file, *cells, "--view", "contrast")
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]


def test_cells_without_a_contrast(xlharm_here: Xlharm, grid_file: Path) -> None:
    done = xlharm_here("results", grid_file, "de/en", "de/none")
    assert done.returncode == 2
    assert "de/en: cells are named with --view contrast alone" in done.stderr
    assert "No contrast to show" in xlharm_here("results", grid_file, "de/en", "de/none", "--view", "contrast").stdout


def test_a_model_that_is_not_there_yet(xlharm_here: Xlharm, grid_file: Path) -> None:
    done = xlharm_here("ask", grid_file, "de/en", "Which colour?")
    assert done.returncode == 2
    assert "run the grid first" in done.stderr


def test_pack_and_zero(xlharm_here: Xlharm, grid_file: Path) -> None:
    assert "expected auto or a number from 1" in xlharm_here("run", grid_file, "--pack", "many").stderr
    assert "expected 0, 2 or 3" in xlharm_here("run", grid_file, "--zero", "1").stderr
    message = xlharm_here("run", grid_file, "--zero", "2", "--offload", "params").stderr
    assert "--offload params needs --zero 3" in message


def test_a_damaged_corpus_names_file_line_and_field(xlharm_here: Xlharm, grid_file: Path, mini_corpus: Path) -> None:
    import shutil

    broken = grid_file.parent / "broken"
    shutil.copytree(mini_corpus, broken)
    (broken / "ur.jsonl").unlink()
    done = xlharm_here("plan", grid_file, "-s", f"corpus={broken}")
    assert done.returncode == 2
    assert "ur is listed but ur.jsonl is missing" in done.stderr


@pytest.mark.slow
def test_plan_is_for_laptops_and_programs(xlharm: Xlharm, grid_file: Path) -> None:
    import json

    done = xlharm("plan", grid_file, "--json")
    output = json.loads(done.stdout)
    assert [k["shared"] for k in output["kinds"]] == [3, 3, 6, 27]
    assert [k["naive"] for k in output["kinds"]] == [9, 9, 6, 27]
    assert len(output["cells"]) == 9
    help_text = xlharm("run", "--help").stdout
    assert "Ctrl-C" in help_text
