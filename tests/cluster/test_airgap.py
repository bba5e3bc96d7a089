"""The bundle for machines without a network, with a package of a few bytes from a folder."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).parents[2] / "cluster" / "airgap" / "bundle.sh"


def wheel(folder: Path, name: str, *, needs: str = "") -> None:
    info = f"{name}-1.0.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n" + (f"Requires-Dist: {needs}\n" if needs else "")
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as file:
        file.writestr(f"{name}.py", f"NAME = {name!r}\n")
        file.writestr(f"{info}/METADATA", metadata)
        file.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{info}/RECORD", f"{name}.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """An unpacked bundle of a package and the one that it needs."""
    index = tmp_path / "index"
    index.mkdir()
    wheel(index, "xh_above", needs="xh_below")
    wheel(index, "xh_below")
    env = {**os.environ, "PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index)}
    env["PYTHON"] = sys.executable
    subprocess.run([SCRIPT, tmp_path / "b.tar", "xh_above"], env=env, check=True, capture_output=True, timeout=120)
    shutil.rmtree(index)
    subprocess.run(["tar", "-C", tmp_path, "-xf", tmp_path / "b.tar"], check=True, timeout=60)
    return tmp_path / "xlharm-bundle"


def install(bundle: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "PYTHON": sys.executable, "PIP_CONFIG_FILE": os.devnull}
    command = [bundle / "install.sh", folder]
    return subprocess.run(command, env=env, check=False, capture_output=True, text=True, timeout=180)


def test_it_installs_what_it_holds_and_no_more(bundle: Path, tmp_path: Path) -> None:
    assert (bundle / "grid" / "quickstart.yaml").is_file()
    done = install(bundle, tmp_path / "env")
    assert done.returncode == 0, done.stdout + done.stderr
    code = "import xh_above, xh_below; print(xh_above.NAME, xh_below.NAME)"
    asked = [tmp_path / "env/bin/python", "-c", code]
    assert subprocess.run(asked, check=True, capture_output=True, text=True).stdout == "xh_above xh_below\n"


def test_damage_and_another_python_are_noticed(bundle: Path, tmp_path: Path) -> None:
    held = bundle / "wheels" / "xh_below-1.0-py3-none-any.whl"
    whole = held.read_bytes()
    held.write_bytes(whole[:-1])
    assert install(bundle, tmp_path / "damaged").returncode != 0
    held.write_bytes(whole)
    (bundle / "PYTHON_VERSION").write_text("3.4\n")
    done = install(bundle, tmp_path / "other")
    assert done.returncode == 2
    assert done.stderr.startswith("error: this bundle is for Python 3.4")
    assert not (tmp_path / "other").exists()


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck(bundle: Path) -> None:
    subprocess.run(["shellcheck", SCRIPT, bundle / "install.sh"], check=True, timeout=60)


def test_it_parses() -> None:
    subprocess.run(["bash", "-n", SCRIPT], check=True, timeout=60)
