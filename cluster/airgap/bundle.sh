#!/usr/bin/env bash
# One archive with xlharm and everything that it needs, for machines without a network. From the repository's root,
# on a machine of the same kind (Linux, processor) that has a network:
#
#   PYTHON=python3.12 cluster/airgap/bundle.sh xlharm-bundle.tar [REQUIREMENT ...]
#
# PYTHON must be of the version that the target has. Without requirements the bundle holds torch (of pip's default index,
# the CUDA build of about 3 GB; PIP_EXTRA_INDEX_URL and the like choose another) and this repository with its grids.
# On the target:
#
#   tar -xf xlharm-bundle.tar && PYTHON=python3.12 xlharm-bundle/install.sh .venv
#
# Bases and corpora of a hub are not in it; the shipped ones are.
set -euo pipefail

out=$(realpath -m "${1:?usage: bundle.sh OUT.tar [REQUIREMENT ...]}")
shift
root=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-python3}
requirements=("$@")
[[ $# -gt 0 ]] || requirements=(torch "$root")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bundle=$work/xlharm-bundle
mkdir -p "$bundle/wheels" "$(dirname "$out")"

# Not `pip download`: what comes as source only (DeepSpeed) must be built here, where there is a network.
# DeepSpeed's operators compile on first use, on the machine that has the GPU.
DS_BUILD_OPS=0 "$python" -m pip wheel --quiet --constraint "$root/constraints.txt" \
  --wheel-dir "$bundle/wheels" "${requirements[@]}"

cp -r "$root/grid" "$root/LICENSE" "$bundle"
# Exactly these wheels, so that the target resolves nothing.
(cd "$bundle" && printf '%s\n' wheels/*.whl > requirements.txt && sha256sum wheels/*.whl requirements.txt > SHA256SUMS)
"$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' > "$bundle/PYTHON_VERSION"

cat > "$bundle/install.sh" << 'EOF'
#!/usr/bin/env bash
# Makes a virtual environment from this folder alone: install.sh [FOLDER] (default .venv). Uses no network.
set -euo pipefail
folder=$(realpath -m "${1:-.venv}")
cd "$(dirname "$0")"
python=${PYTHON:-python3}
wanted=$(< PYTHON_VERSION)
found=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if [[ $found != "$wanted" ]]; then
  echo "error: this bundle is for Python $wanted, and $python is $found; set PYTHON=python$wanted" >&2
  exit 2
fi
sha256sum --check --quiet SHA256SUMS
"$python" -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --requirement requirements.txt
"$folder/bin/python" -m pip check --disable-pip-version-check
echo "Installed. Next: . $folder/bin/activate && xlharm run $PWD/grid/quickstart.yaml"
EOF
chmod +x "$bundle/install.sh"
tar -C "$work" -cf "$out" xlharm-bundle
ls -l "$out"
