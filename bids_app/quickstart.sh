#!/bin/sh
# All set-up and one task, on a machine with Python >= 3.11 and git:
#   sh bids_app/quickstart.sh demo [DIR]          install, make the demo dataset, score it (DIR: ./demo)
#   sh bids_app/quickstart.sh test [PYTEST ARGS]  install, run the tests
#   sh bids_app/quickstart.sh setup               install only
# The environment is made once, in .venv (or $BAN_BIDS_VENV), and used again. $PYTHON chooses the interpreter.
set -eu
task=${1:-}
case "$task" in demo | test | setup) shift ;; *) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 2 ;; esac
start_dir=$(pwd)
cd "$(dirname "$0")/.."
root=$(pwd)
venv=${BAN_BIDS_VENV:-$root/.venv}
python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
  { echo "quickstart: $python is older than Python 3.11; set PYTHON to a newer one" >&2; exit 2; }

make_venv() { "$python" -m venv "$venv" >"$root/.venv.log" 2>&1; }
if [ ! -x "$venv/bin/pip" ]; then
  # Debian's python3 comes without ensurepip until python3-venv is installed
  if ! make_venv; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
      echo "quickstart: installing Debian's python3-venv" >&2
      { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3-venv; } \
        >>"$root/.venv.log" 2>&1
      make_venv
    else
      cat "$root/.venv.log" >&2
      echo "quickstart: cannot make a virtual environment; run 'sudo apt-get install python3-venv'" >&2
      exit 2
    fi
  fi
fi
rm -f "$root/.venv.log"

extras=
[ "$task" = test ] && extras="[test]"
stamp=$venv/.ban-bids$extras-$(cat pyproject.toml constraints.txt | cksum | tr -d ' ')
if [ ! -e "$stamp" ]; then
  echo "quickstart: installing ban-bids and its dependencies into $venv (several GB, once)" >&2
  "$venv/bin/python" -m pip install -q uv
  "$venv/bin/uv" pip install -q --compile-bytecode --python "$venv/bin/python" -c constraints.txt -e ".$extras" ||
    { echo "quickstart: uv failed; trying pip, which is slower" >&2
      "$venv/bin/python" -m pip install -q -c constraints.txt -e ".$extras"; }
  : >"$stamp"
fi

case "$task" in
  demo) cd "$start_dir"; exec "$venv/bin/ban-bids-demo" "${1:-demo}" ;;
  test)
    # two workers, one thread each: the tests of one file stay together
    export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" PATH="$venv/bin:$PATH"
    exec "$venv/bin/python" -m pytest -n 2 --dist loadfile "$@" ;;
esac
