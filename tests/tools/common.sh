# What the scripts in this folder share. Each of them gets one real program for the tests:
#   bash tests/tools/NAME              installs it if it is missing, and prints its folder
#   bash tests/tools/NAME --installed  prints its folder, or says what is missing and exits with 1
# The folder is on standard output, all else on standard error.
set -euo pipefail

# Each program has a folder of its own here, named with its version, so that worktrees share them.
tools="${HOOKKEEPER_TEST_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/hookkeeper/test-tools}"

say() { echo "    $*" >&2; }

give_up() {
  echo "$*" >&2
  exit 1
}

# With --installed the script ends here.
# Usage: answer_if_asked FOLDER "$@"
answer_if_asked() {
  [[ ${2:-} == --installed ]] || return 0
  [[ -d $1 ]] || give_up "$1 is missing; 'bash tests/run' gets it, and so does 'bash tests/tools/$(basename "$0")'"
  echo "$1"
  exit 0
}

# Makes the folder $new, which goes away with the script. What is built there is moved to its place
# when it is whole, so that a broken install leaves nothing that looks like a whole one.
make_new() {
  mkdir -p "$tools"
  # Left behind by a script that was killed.
  find "$tools" -mindepth 1 -maxdepth 1 -name '.new-*' -mmin +180 -exec rm -rf {} +
  new=$(mktemp -d "$tools/.new-XXXXXX")
  trap 'rm -rf "$new"' EXIT
}

# Usage: put_in_place MADE FOLDER
put_in_place() {
  # Two may have built the same at once; the first one's stays.
  mv -T "$1" "$2" 2>/dev/null || [[ -d $2 ]] || give_up "cannot move $1 to $2"
}

# Runs a command, shows its output only if it fails, and says how long it took.
# Usage: timed WHAT COMMAND...
timed() {
  local what=$1 since=$SECONDS
  shift
  say "$what …"
  local output
  if ! output=$("$@" 2>&1); then
    give_up "$output"$'\n'"failed: $what"
  fi
  say "… took $((SECONDS - since)) s"
}

# Installs Debian packages when it can, else says which programs are missing.
# Usage: install_packages WHY PACKAGE...
install_packages() {
  local why=$1
  shift
  if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
    give_up "$why; install it first, on Debian and Ubuntu with: apt-get install $*"
  fi
  timed "apt-get update" apt-get update
  timed "apt-get install $*" env DEBIAN_FRONTEND=noninteractive \
    apt-get install --yes --no-install-recommends "$@"
}

# Usage: check_sha256 FILE DIGEST
check_sha256() {
  local found
  found=$(sha256sum "$1" | cut -d ' ' -f 1)
  [[ $found == "$2" ]] || give_up "$(basename "$1") has the SHA-256 $found instead of $2"
}
