#!/bin/bash
# relay-bench.sh HOST:PORT SINKPORT SIZE SESSIONS COUNT
#
# Pushes COUNT messages of SIZE bytes over SESSIONS parallel SMTP sessions into
# the relay that listens on HOST:PORT and waits until all of them have come out
# of its other end: an smtp-sink that this script runs on 127.0.0.1:SINKPORT,
# which the relay must already be set up to use as its next hop.
# Works for any relay; nothing here knows which one it is.
#
# Environment (all optional):
#   PEER     process ids, separated by commas or blanks: CPU time and memory of
#            these processes and everything below them are measured
#   LABEL    name for the result lines            (default: the port)
#   RUNS     repetitions; the median is shown     (default: 3)
#   KIND     message kind of make-message.sh      (default: text)
#   MODE     new   one connection per message     (default)
#            keep  sessions stay open for many messages
#   CSV      append one line per run to this file
#   TIMEOUT  seconds before a run is given up     (default: 300)
#   REDO     how often a disturbed run is repeated (default: 2); a run counts as
#            disturbed when other processes or the hypervisor took more than
#            DISTURB percent (default: 15) of all processor time
#   QUIET    seconds to wait at most for an idle machine before a run (default: 90)
#
# Columns: secs first connect to last message at the sink; msg_s end to end; accept_s until the sender was done;
# cpu_1000 CPU seconds of PEER per 1,000 messages, children included; pss_mib/rss_mib highest sum over the tree; the
# rest tells how quiet the machine was.
set -u
here=$(cd "$(dirname "$0")" && pwd)
. "$here/lib.sh"

[ $# -eq 5 ] || die "usage: relay-bench.sh HOST:PORT SINKPORT SIZE SESSIONS COUNT"
target=$1 sinkport=$2 size=$3 sessions=$4 count=$5
host=${target%:*} port=${target##*:}
case $host in 127.*|localhost|'[::1]') ;; *) die "only loopback addresses are allowed as target" ;; esac
PEER=${PEER:-}; PEER=${PEER//,/ }
LABEL=${LABEL:-$port} RUNS=${RUNS:-3} KIND=${KIND:-text} MODE=${MODE:-new}
CSV=${CSV:-} TIMEOUT=${TIMEOUT:-300} REDO=${REDO:-2} DISTURB=${DISTURB:-15} QUIET=${QUIET:-90}
HZ=$(getconf CLK_TCK)
disk=$(basename "$(readlink -f "/dev/$(lsblk -no PKNAME "$(df --output=source /tmp | tail -1)" 2>/dev/null | head -1)")" 2>/dev/null)
[ -r "/sys/block/$disk/stat" ] || disk=$(basename "$(df --output=source /tmp | tail -1)")

work=$(mktemp -d "${TMPDIR:-/tmp}/relay-bench.XXXXXX") || exit 1
sink='' sampler=''
cleanup() { # end what is left below this script: sink, source, sampler
  local p
  for p in $(tree_pids $$); do [ "$p" = $$ ] || kill "$p" 2>/dev/null; done
  rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

msgdir=$PEERS/messages; mkdir -p "$msgdir"
msg=$msgdir/$size.$KIND.eml
[ -s "$msg" ] || "$here/make-message.sh" "$size" "$KIND" >"$msg" || die "cannot make message"

wait_listen "$port" 5 || die "nothing listens on $target"
listening "$sinkport" && die "port $sinkport is taken: the sink must be mine"

sys_cpu() { # busy steal total interrupts, in ticks, whole machine
  read -r _ u n s i w q sq st _ </proc/stat; echo "$((u + n + s + q + sq)) $st $((u + n + s + i + w + q + sq + st)) $((q + sq))"; }
kern_cpu() { # kernel threads and interrupts: part of what the load costs, in no process' bill
  local u s q; read -r u s <<<"$(tree_cpu 2)"; read -r _ _ _ q <<<"$(sys_cpu)"; echo $((u + s + q)); }
self_cpu() { # this script, sender and sink included
  local u s; read -r u s <<<"$(tree_cpu $$)"; echo $((u + s)); }
flushes() { awk '{ print $16 + 0, $7 + 0 }' "/sys/block/$disk/stat" 2>/dev/null || echo 0 0; }
own_cpu() { # ticks of one process, children not included
  sed 's/^.*) //' "/proc/$1/stat" 2>/dev/null | awk '{ print $12 + $13 }'; }

# wait for a second in which the machine was at least 90 % idle (at most QUIET seconds)
wait_quiet() {
  local a b i
  for ((i = 0; i < QUIET; i++)); do
    read -r -a a <<<"$(sys_cpu)"; sleep 1; read -r -a b <<<"$(sys_cpu)"
    (( (b[0] - a[0] + b[1] - a[1]) * 10 <= b[2] - a[2] )) && return
  done
}

# Wakes the polling loop without forking a sleep each time.
mkfifo "$work/never"; exec 8<>"$work/never"

one_run() { # sets the r_* variables; returns 1 on time-out, 2 if disturbed
  local t0 t1 tsrc='' last=0 seen line rc=0 keep=()
  [ "$MODE" = keep ] && keep=(-d)
  : >"$work/count"
  smtp-sink -c -u nobody -m 1024 "$LO:$sinkport" 1024 >"$work/count" 2>"$work/sink.err" &
  sink=$!
  wait_listen "$sinkport" 5 || die "smtp-sink did not start: $(cat "$work/sink.err")"

  local u0 s0 b0 st0 tot0 f0 w0 u1 s1 b1 st1 tot1 f1 w1 k0 k1 kern0 kern1 self0 self1
  : >"$work/mem"
  if [ -n "$PEER" ]; then
    ( while :; do tree_mem $PEER >>"$work/mem"; sleep 1; done ) & sampler=$!
    sleep 0.3
  fi
  read -r u0 s0 <<<"$(tree_cpu $PEER)"
  read -r f0 w0 <<<"$(flushes)"
  k0=$(own_cpu $sink); kern0=$(kern_cpu); self0=$(self_cpu)
  read -r b0 st0 tot0 _ <<<"$(sys_cpu)"
  t0=${EPOCHREALTIME/./}                     # microseconds
  ( TIMEFORMAT='%U %S'; time timeout $((TIMEOUT + 5)) smtp-source ${keep[@]+"${keep[@]}"} -s "$sessions" -m "$count" \
      -f post@kommune.example -t modtager@styrelse.example -M bench.example \
      -F "$msg" "$host:$port" >"$work/src.out" 2>&1; echo $? >"$work/src.rc"; echo "${EPOCHREALTIME/./}" >"$work/src.end" ) 2>"$work/src.time" &
  local src=$!
  # The sink rewrites its counters after every message: read what is new in
  # the file, keep the highest count, and take the file time as the end.
  exec 7<"$work/count"
  while :; do
    while IFS= read -r -d $'\r' line <&7; do seen=${line##*mesg=}; [ "$seen" -gt "$last" ] 2>/dev/null && last=$seen; done
    [ "$last" -ge "$count" ] && break
    if [ -s "$work/src.rc" ] && [ "$(cat "$work/src.rc")" != 0 ]; then echo "smtp-source: $(tail -1 "$work/src.out")" >&2; rc=1; break; fi
    (( ${EPOCHREALTIME/./} - t0 > TIMEOUT * 1000000 )) && { echo "time-out at $last of $count" >&2; rc=1; break; }
    read -r -t 0.01 _ <&8
  done
  t1=$(stat -c %.6Y "$work/count"); t1=${t1/./}
  exec 7<&-
  wait $src
  sleep 0.4                                   # let the relay remove its queue files
  read -r b1 st1 tot1 _ <<<"$(sys_cpu)"
  kern1=$(kern_cpu); self1=$(self_cpu)
  read -r u1 s1 <<<"$(tree_cpu $PEER)"
  read -r f1 w1 <<<"$(flushes)"
  k1=$(own_cpu $sink)
  if [ -n "$PEER" ]; then
    tree_mem $PEER >>"$work/mem"
    kill "$sampler"; wait "$sampler" 2>/dev/null; sampler=''
  fi
  tsrc=$(cat "$work/src.end" 2>/dev/null || echo "$t1")
  # anything that came late is a duplicate
  seen=$(tail -c 60 "$work/count" | tr '\r' '\n' | sed -n 's/.*mesg=//p' | tail -1); seen=${seen:-0}
  kill "$sink"; wait "$sink" 2>/dev/null; sink=''

  local srccpu; srccpu=$(awk 'NF == 2 { print $1 + $2 }' "$work/src.time" | tail -1)
  eval "$(awk -v n="$count" -v us=$((t1 - t0)) -v as=$((tsrc - t0)) -v u=$((u1 - u0)) -v s=$((s1 - s0)) -v hz="$HZ" \
      -v fl=$((f1 - f0)) -v wr=$((w1 - w0)) -v k=$((${k1:-0} - ${k0:-0})) -v src="${srccpu:-0}" \
      -v kern=$((kern1 > kern0 ? kern1 - kern0 : 0)) -v self=$((self1 - self0)) -v busy=$((b1 - b0)) -v steal=$((st1 - st0)) -v tot=$((tot1 - tot0)) -v peer="$PEER" '
    BEGIN {
      o = (busy - u - s - kern - self) / hz; if (o < 0) o = 0
      printf "r_secs=%.3f r_rate=%.1f r_accept=%.1f ", us / 1e6, n / (us / 1e6), n / (as / 1e6)
      printf "r_user=%.3f r_sys=%.3f r_cpu=%.3f ", u / hz * 1000 / n, s / hz * 1000 / n, (u + s) / hz * 1000 / n
      printf "r_flush=%.2f r_kib=%.1f r_gen=%.3f ", fl / n, wr / 2 / n, (k / hz + src) * 1000 / n
      printf "r_kern=%.3f ", kern / hz * 1000 / n
      printf "r_other=%.1f r_steal=%.1f ", tot ? o * hz * 100 / tot : 0, tot ? steal * 100 / tot : 0
      printf "r_idle=%.1f\n", tot ? (tot - busy - steal) * 100 / tot : 0
    }')"
  read -r r_pss r_rss <<<"$(awk '{ if ($1 > p) p = $1; if ($2 > r) r = $2 } END { printf "%.1f %.1f\n", p / 1024, r / 1024 }' "$work/mem")"
  r_extra=$((seen - count))
  [ $rc -eq 0 ] || { r_secs=$(((${EPOCHREALTIME/./} - t0) / 1000000)) r_rate=0 r_accept=0; return 1; }
  # without PEER nothing tells the relay apart from a disturbance
  awk -v o="$r_other" -v s="$r_steal" -v d="$DISTURB" -v peer="$PEER" 'BEGIN { exit !((peer != "" && o + s > d) || s > d) }' && return 2
  return 0
}

head="label,target,size,kind,mode,sessions,count,run,secs,msg_s,accept_s,cpu_1000,user_1000,sys_1000,pss_mib,rss_mib,flush_msg,kib_msg,gen_cpu_1000,other_pct,steal_pct,idle_pct,extra,load1,note,kern_cpu_1000"
[ -n "$CSV" ] && { mkdir -p "$(dirname "$CSV")"; [ -s "$CSV" ] || echo "$head" >"$CSV"; }

: >"$work/runs"; fail=0
for ((run = 1; run <= RUNS; run++)); do
  for ((try = 0; ; try++)); do
    wait_quiet
    load=$(cut -d' ' -f1 /proc/loadavg)
    one_run; rc=$?; note=ok
    [ $rc -eq 1 ] && note=failed
    [ $rc -eq 2 ] && note=disturbed
    line="$LABEL,$target,$size,$KIND,$MODE,$sessions,$count,$run,$r_secs,$r_rate,$r_accept,$r_cpu,$r_user,$r_sys,$r_pss,$r_rss,$r_flush,$r_kib,$r_gen,$r_other,$r_steal,$r_idle,$r_extra,$load,$note,$r_kern"
    [ $rc -eq 2 ] && [ "$try" -lt "$REDO" ] && { [ -n "$CSV" ] && echo "${line/,disturbed,/,dropped,}" >>"$CSV"; continue; }
    break
  done
  [ -n "$CSV" ] && echo "$line" >>"$CSV"
  [ $rc -eq 1 ] && { fail=1; echo "$line"; break; }
  echo "$line" >>"$work/runs"
done
[ $fail -eq 0 ] || exit 1

med() { cut -d, -f"$1" "$work/runs" | sort -n | awk '{ a[NR] = $1 } END { print NR % 2 ? a[(NR + 1) / 2] : (a[NR / 2] + a[NR / 2 + 1]) / 2 }'; }
printf '%-18s %7s B %-6s %-4s s=%-3s n=%-5s  %8s msg/s  accept %8s/s  cpu/1000 %6s s (user %s sys %s)  pss %s MiB rss %s MiB  flush/msg %s  written/msg %s KiB  kernel %s s  gen %s s  other %s%%  steal %s%%  idle %s%%  extra %s\n' \
  "$LABEL" "$size" "$KIND" "$MODE" "$sessions" "$count" "$(med 10)" "$(med 11)" "$(med 12)" "$(med 13)" "$(med 14)" \
  "$(med 15)" "$(med 16)" "$(med 17)" "$(med 18)" "$(med 26)" "$(med 19)" "$(med 20)" "$(med 21)" "$(med 22)" "$(cut -d, -f23 "$work/runs" | sort -n | tail -1)"
