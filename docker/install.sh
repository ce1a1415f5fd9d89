#!/bin/sh
# Install the program from SOURCE into a virtual environment at TARGET, compiled, without what only an
# installation needs. The Dockerfile and synthsr.def both run this.
set -eu
source=$1 target=$2 torch_index=$3

python3 -m venv /tmp/builder
/tmp/builder/bin/pip wheel --quiet --no-cache-dir --no-deps --wheel-dir /tmp/wheels "$source"
python3 -m venv "$target"
"$target/bin/pip" install --quiet --no-cache-dir --constraint "$source/constraints.txt" \
    --extra-index-url "$torch_index" /tmp/wheels/*.whl
"$target/bin/pip" check
"$target/bin/pip" uninstall --quiet --yes setuptools pip
find "$target" -name '*.a' -delete                                    # for compilers
find "$target" -type d -name tests -prune -exec rm -rf {} +           # of the libraries
find "$target" -type d -path '*/torch/include' -prune -exec rm -rf {} +
"$target/bin/python" -m compileall -q "$target/lib" || true           # templates of code do not compile
rm -rf /tmp/builder /tmp/wheels
"$target/bin/bids_synthsr" --version
