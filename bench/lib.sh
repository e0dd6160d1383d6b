# Shared settings and helpers for the relay benchmarks. Sourced, not run.
# Every port is on 127.0.0.1; everything generated lives under $PEERS.

PEERS=${PEERS:-${TMPDIR:-/tmp}/peers}
RESULTS=${RESULTS:-$PEERS/results}
LO=127.0.0.1
SINKPORT=${SINKPORT:-12025}          # next hop of every peer

# listening port of each configuration
port_of() {
  case $1 in
    postfix-plain)   echo 11025 ;;
    postfix-milter)  echo 11028 ;;
    *) return 1 ;;
  esac
}
RSPAMD_PORT=11332

# The CPR number pattern used by every scanner: day, month, two-digit year,
# optional separator, four digits; not part of a longer run of digits.
CPR_WORD='\b(?:0[1-9]|[12][0-9]|3[01])(?:0[1-9]|1[0-2])[0-9]{2}[- ]?[0-9]{4}\b'   # hyperscan can take this one

die() { echo "$0: $*" >&2; exit 1; }

alive() { [ -n "${1:-}" ] && kill -0 "$1" 2>/dev/null; }

# is something listening on this loopback port?
listening() { (exec 9<>"/dev/tcp/$LO/$1") 2>/dev/null; }

wait_listen() { # port [seconds]
  local i n=$(( ${2:-20} * 10 ))
  for ((i = 0; i < n; i++)); do listening "$1" && return 0; sleep 0.1; done
  return 1
}

# stop one process by pid, waiting for it to go
stop_pid() { # pid [seconds]
  local i n=$(( ${2:-20} * 10 ))
  alive "$1" || return 0
  kill -TERM "$1"
  for ((i = 0; i < n; i++)); do alive "$1" || return 0; sleep 0.1; done
  kill -KILL "$1" 2>/dev/null
}

# all pids of the process trees below the given roots, roots included
tree_pids() {
  cat /proc/[0-9]*/stat 2>/dev/null | awk -v roots="$*" '
    { # the command name in field 2 may hold blanks: cut up to the last ")"
      pid = $1; s = $0; sub(/^.*\) /, "", s); split(s, f, " ")
      up[pid] = f[2]; all[++n] = pid }
    END {
      k = split(roots, r, " "); for (i = 1; i <= k; i++) want[r[i]] = 1
      do { more = 0
        for (i = 1; i <= n; i++) if (!(all[i] in want) && (up[all[i]] in want)) { want[all[i]] = 1; more = 1 }
      } while (more)
      for (i = 1; i <= n; i++) if (all[i] in want) print all[i]
    }'
}

# "user sys" in clock ticks spent by the trees, ended and reaped children included
tree_cpu() {
  local p f=()
  for p in $(tree_pids "$@"); do f+=("/proc/$p/stat"); done
  [ ${#f[@]} -gt 0 ] || { echo "0 0"; return; }
  cat "${f[@]}" 2>/dev/null | awk '
    { sub(/^.*\) /, ""); u += $12 + $14; s += $13 + $15 } END { print u + 0, s + 0 }'
}

# "pss rss" in KiB of the trees right now
tree_mem() {
  local p f=()
  for p in $(tree_pids "$@"); do f+=("/proc/$p/smaps_rollup"); done
  [ ${#f[@]} -gt 0 ] || { echo "0 0"; return; }
  cat "${f[@]}" 2>/dev/null | awk '/^Pss:/ { p += $2 } /^Rss:/ { r += $2 } END { print p + 0, r + 0 }'
}
