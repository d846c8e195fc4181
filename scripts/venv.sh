# shellcheck shell=bash
# Sourced by the scripts beside it: makes and keeps $root/.venv, the environment they run in.
#
#   ensure_venv EXTRA...   an up-to-date .venv with worldswitch (editable) and these extras, or exit 2
#
# A second call costs a fraction of a second: packages are installed again only when pyproject.toml or
# setup.py changed, an extra is missing, or the checkout moved.

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
venv=$root/.venv
stamp=$venv/worldswitch-installed # line 1: what the installation was made from; then its extras, one a line

say() { printf '%s: %s\n' "$(basename -- "$0")" "$*" >&2; }

die() {
    say "$*"
    exit 2
}

python_fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; }

# The first Python 3.11 to 3.13 that can make an environment; else the first that at least fits.
find_python() {
    local candidate fits=
    for candidate in python3 python3.13 python3.12 python3.11; do
        python_fits "$candidate" || continue
        if "$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1; then
            printf '%s\n' "$candidate"
            return
        fi
        fits=${fits:-$candidate}
    done
    printf '%s\n' "$fits"
}

# Debian and its kin ship venv and ensurepip in a package of their own.
install_venv_module() {
    local package
    package=$("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        die "$1 cannot make a virtual environment: install its venv module first (Debian: apt install $package)"
    fi
    say "installing $package"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y "$package"; } </dev/null >/dev/null ||
        die "apt-get could not install $package"
}

make_venv() {
    local python
    [ ! -e "$venv" ] || [ -d "$venv" ] || die "$venv is no directory: remove it first"
    python=$(find_python)
    [ -n "$python" ] || die "no Python 3.11, 3.12 or 3.13 found (tried python3, python3.13, python3.12, python3.11)"
    "$python" -c 'import ensurepip, venv' >/dev/null 2>&1 || install_venv_module "$python"
    say "making .venv with $("$python" --version)"
    "$python" -m venv --clear "$venv" >&2 || die "$python could not make $venv"
}

ensure_venv() {
    local installed="" source_id extra list
    source_id="$root $({ cat -- "$root/pyproject.toml" "$root/setup.py" 2>/dev/null || :; } | cksum)"
    [ ! -e "$stamp" ] || read -r installed <"$stamp" || :

    # An environment whose checkout moved has stale paths in it; one whose interpreter is gone does not run.
    if ! python_fits "$venv/bin/python" || ! "$venv/bin/python" -c 'import pip' 2>/dev/null ||
        { [ -n "$installed" ] && [ "${installed#"$root "}" = "$installed" ]; }; then
        make_venv
        installed=
    fi

    if [ "$installed" = "$source_id" ]; then
        for extra in "$@"; do
            grep -qxF -- "$extra" "$stamp" || break
            shift
        done
        [ $# -gt 0 ] || return 0
    else
        rm -f -- "$stamp"
    fi

    list=$(IFS=, && printf '%s' "$*")
    say "installing worldswitch[$list] into .venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --editable "${root}[$list]" </dev/null >&2 ||
        die "pip could not install worldswitch[$list]"
    [ -e "$stamp" ] || printf '%s\n' "$source_id" >"$stamp"
    printf '%s\n' "$@" >>"$stamp"
}
