"""Planning works on a laptop without torch."""

import subprocess
import sys


def test_planning_imports_no_torch_ray_or_wandb() -> None:
    code = (
        "import sys, xlharm.plan.build, xlharm.plan.packs, xlharm.plan.cost, xlharm.config.load, xlharm.store.store, "
        "xlharm.corpus.format, xlharm.stages.job;"
        "print([m for m in ('torch', 'ray', 'wandb', 'transformers', 'deepspeed') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_rooms_of_judges_and_probes_are_light() -> None:
    code = (
        "import sys, xlharm.judges, xlharm.probes; xlharm.judges.JUDGES.all(), xlharm.probes.PROBES.all();"
        "print([m for m in ('torch', 'ray', 'transformers', 'httpx') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
