"""`xlharm store check` and `gc`, and what other commands say of a damaged store."""

import json
from pathlib import Path

from tests.analysis.worlds import fill
from tests.cli.conftest import Xlharm
from tests.store.test_store import STAGE, commit
from xlharm.cli.common import open_grid
from xlharm.store.process import process_name
from xlharm.store.store import Store


def test_check_names_damage_and_repairs_it(xlharm_here: Xlharm, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    commit(store)
    before = {path: path.stat().st_mtime_ns for path in store.local.rglob("*")}
    sound = xlharm_here("store", "check", "--store", store.url)
    assert (sound.returncode, sound.stdout) == (0, "Read 1 stages (0.0 MB) and 0 checkpoints: all sound\n")
    assert {path: path.stat().st_mtime_ns for path in store.local.rglob("*")} == before

    name = f"stages/{STAGE.kind}/{STAGE.key[:16]}"
    (store.local / name / "rows.txt").write_text("resulT")
    checked = xlharm_here("store", "check", "--store", store.url)
    assert checked.returncode == 1
    assert checked.stdout.splitlines() == [
        f"{name}/rows.txt: does not match its checksum",
        "Read 1 stages (0.0 MB) and 0 checkpoints: 1 flaws",
        f"set aside what is damaged with: xlharm store check --store {store.url} --repair",
    ]
    mended = xlharm_here("store", "check", "--store", store.url, "--repair")
    assert mended.returncode == 0
    assert mended.stdout.splitlines() == [
        f"{name}/rows.txt: does not match its checksum: set aside; the next run computes it again",
        "Read 1 stages (0.0 MB) and 0 checkpoints: 1 flaws, 0 of them left",
    ]
    assert xlharm_here("store", "check", "--store", store.url).stdout.startswith("Read 0 stages")


def test_check_of_nothing_is_a_mistake(xlharm_here: Xlharm, tmp_path: Path) -> None:
    done = xlharm_here("store", "check", "--store", tmp_path / "none", "--repair")
    assert (done.returncode, done.stderr) == (2, f"error: --store {tmp_path / 'none'}: nothing is there\n")
    assert not (tmp_path / "none").exists()


def test_plan_status_and_results_agree_about_damage(xlharm_here: Xlharm, grid_file: Path, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    plan = open_grid(grid_file, store=store.url, overrides=None).plan
    fill(plan, store, n=4)
    first, last = next(iter(plan.stages.values())), plan.stages[plan.cells[0].evaluations["en"]]
    for stage in (first, last):
        (store.local / "stages" / stage.kind / stage.key[:16] / "record.json").write_text("{}")
    planned = json.loads(xlharm_here("plan", grid_file, "--store", store.url, "--json").stdout)
    assert {stage["key"] for stage in planned["stages"] if not stage["done"]} == {first.key, last.key}
    status = xlharm_here("status", grid_file, "--store", store.url).stdout
    assert status.count("damaged, computed again by the next run: ") == 2
    for view in ("cells", "seeds"):
        results = xlharm_here("results", grid_file, "--store", store.url, "--view", view)
        assert results.stderr.count("damaged, left out until the grid is run again: ") == 1
        assert f"{plan.cells[0].name} in en" in results.stderr
    assert len(xlharm_here("store", "check", "--store", store.url).stdout.splitlines()) == 2 + 2


def test_gc_removes_what_a_killed_run_left(xlharm_here: Xlharm, grid_file: Path, tmp_path: Path) -> None:
    store = Store(str(tmp_path / "store"))
    place, pid, start = process_name().split("-")
    left = store.local / "tmp" / f"{place}-{pid}-{int(start) + 1}-scratch"
    left.mkdir()
    listed = xlharm_here("gc", grid_file, "--store", store.url).stdout.splitlines()
    assert listed == [
        f"tmp/{left.name}", "Would remove (use --yes) 0 folders and 1 leftovers of ended processes, 0.0 MB"
    ]  # fmt: skip
    assert left.exists()
    xlharm_here("gc", grid_file, "--store", store.url, "--yes")
    assert not left.exists()
    assert xlharm_here("gc", grid_file, "--store", store.url).stdout == "Would remove (use --yes) 0 folders, 0.0 MB\n"
