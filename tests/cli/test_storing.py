"""`xlharm store check`: exit codes and lines."""

from pathlib import Path

from tests.cli.conftest import Xlharm
from tests.store.test_store import STAGE, commit
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
    found = xlharm_here("store", "check", "--store", store.url)
    assert found.returncode == 1
    assert found.stdout.splitlines() == [
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
