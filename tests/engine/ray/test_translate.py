"""Translation models on a real Ray of this machine, one of them lost on the way."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import environment

SCRIPT = """
import json, sys
from tests.corpus.translate.worlds import items_of
from xlharm.cli.translators import LocalSide
from xlharm.corpus.translate.backend import TranslationTask
from xlharm.corpus.translate.translation import TranslationWork

side = LocalSide(
    model=sys.argv[1], revision=None, device="cpu", batch=8, beams=2, codes={}, address=None, workers=2
)
work = TranslationWork(tasks={"ru": [TranslationTask(item=item) for item in items_of()]}, unscored={"ru": 0})
with side.backend(work, None, stopped=lambda: False) as backend:
    import ray
    first = len(backend._actors)
    ray.kill(backend._actors[1])
    made = sorted(o.id for o in backend.make(work.tasks["ru"], language="ru") if o.item is not None)
    back = sorted(b.id for b in backend.back(items_of("ru"), language="ru") if b.texts)
    print(json.dumps([first, len(backend._actors), made, back]))
"""


@pytest.mark.cluster
@pytest.mark.heavy
def test_workers_share_the_items_and_a_lost_one_is_replaced(translator_folder: Path, tmp_path: Path) -> None:
    script = tmp_path / "drive.py"
    script.write_text(SCRIPT)
    command = [sys.executable, script, translator_folder]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    names = ["ride-lina", "ride-mira", "ride-odan"]
    assert json.loads(done.stdout.strip().splitlines()[-1]) == [2, 3, names, names]
