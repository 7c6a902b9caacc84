# shellcheck shell=bash
# To be sourced, in the checkout's folder: the virtual environment that deploy/test and deploy/demo work in.
#
#   SAGAD_VENV=~/venv    another one than .venv

venv=${SAGAD_VENV:-.venv}

# Makes the environment, or brings it in line with pyproject.toml. `make_venv dev` installs the tools for development too.
make_venv() {
    local extra=${1:-} stamp="$venv/.sagad-installed" wanted installed=
    if [ ! -x "$venv/bin/python" ]; then
        if ! deploy/run-python -c 'import ensurepip' 2>/dev/null; then
            echo "This Python cannot make virtual environments: installing Debian's python3-venv." >&2
            install_package python3-venv || return 1
        fi
        deploy/run-python -m venv "$venv" || return 1
    fi
    wanted=$("$venv/bin/python" -c 'import hashlib, sys; print(sys.version, hashlib.sha256(open("pyproject.toml", "rb").read()).hexdigest())')
    [ ! -f "$stamp" ] || installed=$(cat "$stamp")
    if [ "$installed" = "$wanted dev" ] || [ "$installed" = "$wanted $extra" ]; then
        echo "$venv fits pyproject.toml: nothing to install"
        return 0
    fi
    case $installed in *" dev") extra=dev ;; esac
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -e ".${extra:+[$extra]}" || return 1
    echo "$wanted $extra" > "$stamp"
}

install_package() {
    local as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    if ! command -v apt-get > /dev/null || ! { [ "$(id -u)" = 0 ] || command -v sudo > /dev/null; }; then
        echo "Install $1 (or a Python that includes venv), then run this again." >&2
        return 1
    fi
    "${as_root[@]}" apt-get update -qq > /dev/null
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$1" > /dev/null
}
