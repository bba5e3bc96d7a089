"""Methods of one's own: the worked example of docs/plugins.md, and what goes wrong with others."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.conftest import plan_of
from tests.stages.test_runner import run_all
from xlharm.config.load import load_grid, parse_grid
from xlharm.config.plugins import PluginFile, load_plugins, read_plugin
from xlharm.corpus.finding import resolve
from xlharm.errors import StageError, UserError
from xlharm.methods import METHODS
from xlharm.plan.build import Plan, build
from xlharm.plan.settings import training_of
from xlharm.store.store import Store

DOCS = Path(__file__).parents[2] / "docs" / "plugins.md"


def example(language: str) -> str:
    """Return the first code block of a language in docs/plugins.md."""
    block = re.search(rf"```{language}\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert block
    return block[1]


def grid_with(folder: Path, mini_grid: dict[str, Any], source: str, methods: dict[str, Any]) -> Path:
    (folder / "my_loss.py").write_text(source, encoding="utf-8")
    data = {
        **mini_grid,
        "plugins": ["my_loss.py"],
        "languages": ["en"],
        "contaminate": ["de"],
        "unlearn": {"en": ["en"]},
        "methods": methods,
        "exclude": [],
    }
    path = folder / "grid.yaml"
    YAML().dump(data, path)
    return path


def planned(path: Path) -> Plan:
    spec = load_grid(path)
    return build(spec, sources=resolve(spec, grid_path=path), dtype="float32")


@pytest.fixture
def grid(tmp_path: Path, mini_grid: dict[str, Any]) -> Path:
    written = YAML(typ="safe").load(example("yaml"))
    few = mini_grid["methods"]["npo"]
    sizes = {name: few[name] for name in ("steps", "batch_size", "learning_rate", "retain_batch_size")}
    return grid_with(tmp_path, mini_grid, example("python"), {"mine": {**written["methods"]["mine"], **sizes}})


@pytest.mark.slow
def test_the_worked_example_runs_and_its_source_is_part_of_the_key(grid: Path, tmp_path: Path) -> None:
    plan = planned(grid)
    run_all(plan, Store(str(tmp_path / "store")), size=2, plugins=tuple(map(read_plugin, plan.grid.plugins)))
    store = Store(str(tmp_path / "store"))
    assert store.done(plan.stages) == set(plan.stages)
    metrics = store.record("unlearn", plan.cells[0].model).metrics
    assert metrics["moved"] > 0
    assert len(metrics["retain_loss"]) == 6

    file = tmp_path / "my_loss.py"
    file.write_text(file.read_text() + "\n# another version\n")
    again = planned(grid)
    changed = {s.kind for key, s in again.stages.items() if key not in plan.stages}
    assert changed == {"unlearn", "evaluate"}
    with pytest.raises(StageError, match="another version of the plug-in than the grid was planned with"):
        training_of(plan.stages[plan.cells[0].model])


def test_a_worker_without_the_plugin_says_so(grid: Path) -> None:
    """A worker is another process: what this one has loaded is not there."""
    plan = planned(grid)
    settings = plan.stages[plan.cells[0].model].spec["training"]
    code = f"""
from xlharm.errors import StageError
from xlharm.methods import METHODS
try:
    METHODS.restore({settings!r})
except StageError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert "this worker has no method 'bounded': install its plug-in on all machines" in done.stdout


NPO = """
from typing import Literal
from xlharm.methods.base import LossMethod
class Mine(LossMethod):
    objective: Literal["npo"]
    def loss(self, x):
        return x.logp.mean()
"""


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("x = 1\n\nx.nothing\n", r"my_loss.py:3: AttributeError"),
        ("def (:\n", r"my_loss.py:1: SyntaxError"),
        ("import no_such_module_at_all\n", "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
        ("x = 1\n", "defines no method"),
        (NPO, "'npo' is a method of xlharm: choose another name"),
        (NPO.replace('"npo"', '"mine"').replace("def loss", "def loose"), "Mine lacks loss"),
    ],
    ids=["raises", "no Python", "a package that is not there", "nothing in it", "a name that is taken", "no loss"],
)
def test_a_file_that_cannot_be_used_is_one_line(
    tmp_path: Path, mini_grid: dict[str, Any], source: str, message: str
) -> None:
    path = grid_with(tmp_path, mini_grid, source, {"mine": {"objective": "mine"}})
    with pytest.raises(UserError, match=message) as caught:
        load_grid(path)
    assert "\n" not in str(caught.value)
    assert "mine" not in METHODS.all()


@pytest.mark.parametrize("plugins", ["my_loss.py", [1], {"a": "b"}])
def test_plugins_are_a_list_of_files(plugins: object) -> None:
    with pytest.raises(UserError, match="plugins: expected a list of Python files"):
        parse_grid({"plugins": plugins}, name="g.yaml")


def test_a_missing_file_names_the_nearest(tmp_path: Path, mini_grid: dict[str, Any]) -> None:
    path = grid_with(tmp_path, mini_grid, "", {})
    (tmp_path / "my_loss.py").rename(tmp_path / "my_losses.py")
    with pytest.raises(UserError, match=r"plugins: my_loss.py: no such file; did you mean 'my_losses.py'"):
        load_grid(path)


def test_a_file_is_run_once(tmp_path: Path) -> None:
    mark = tmp_path / "runs"
    source = NPO.replace('"npo"', '"once"') + f"\nopen({str(mark)!r}, 'a').write('x')\n"
    for _ in range(3):
        load_plugins([PluginFile(path="once.py", source=source)])
    assert mark.read_text() == "x"


def test_an_installed_package_is_found_by_its_entry_point(tmp_path: Path, mini_grid: dict[str, Any]) -> None:
    """A real distribution on the path of another process: found, planned, and its source in the key."""
    (tmp_path / "my_package.py").write_text(example("python"))
    info = tmp_path / "my_package-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[xlharm.methods]\nbounded = my_package:Bounded\n")
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from xlharm.config.kinds import source_digest
from xlharm.config.training import key_settings
from xlharm.methods import METHODS
method = METHODS.all()["bounded"](objective="bounded")
settings = key_settings(method)
assert settings["plugin"] == source_digest(open({str(tmp_path / "my_package.py")!r}, "rb").read())
assert METHODS.restore(settings) == method
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_grid_without_plugins_has_the_keys_it_had(mini_grid: dict[str, Any]) -> None:
    assert set(plan_of({**mini_grid, "plugins": []}).stages) == set(plan_of(mini_grid).stages)
