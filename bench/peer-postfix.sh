#!/bin/bash
# peer-postfix.sh start|stop|status [plain|milter]   (default: plain)
# Private Postfix instance below $PEERS/postfix-VARIANT with its own
# configuration, queue, data and log directories; nothing of /etc is used.
#   plain    relay only
#   milter   + rspamd as milter over loopback TCP (start peer-rspamd.sh first)
# Everything that is not named here is left at the Postfix default.
set -eu
. "$(cd "$(dirname "$0")" && pwd)/lib.sh"
action=${1:-}; variant=${2:-plain}; name=postfix-$variant
port=$(port_of "$name") || die "unknown variant $variant"
dir=$PEERS/$name; etc=$dir/etc
pid() { [ -r "$dir/spool/pid/master.pid" ] && tr -d ' \n' <"$dir/spool/pid/master.pid" || true; }

configure() {
  mkdir -p "$etc" "$dir/spool" "$dir/data" "$dir/log"
  chmod 755 "$PEERS" "$dir" "$etc" "$dir/spool"; chown root:root "$dir/spool"; chown postfix:postfix "$dir/data"
  cat >"$etc/main.cf" <<END
compatibility_level = 3.6
queue_directory = $dir/spool
data_directory = $dir/data
multi_instance_name = postfix-bench-$variant
syslog_name = bench-$variant
maillog_file_prefixes = $PEERS
maillog_file = $dir/log/mail.log
myhostname = relay.kommune.example
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
mynetworks = 127.0.0.0/8
inet_interfaces = $LO
inet_protocols = ipv4
relayhost = [$LO]:$SINKPORT
disable_dns_lookups = yes
smtp_host_lookup = native
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_mynetworks, reject
END
  case $variant in
    milter)
      cat >>"$etc/main.cf" <<END
smtpd_milters = inet:$LO:$RSPAMD_PORT
milter_default_action = tempfail
END
      ;;
  esac
  cat >"$etc/master.cf" <<END
$LO:$port inet  n  -  n  -  -  smtpd
pickup     unix  n  -  n  60   1  pickup
cleanup    unix  n  -  n  -    0  cleanup
qmgr       unix  n  -  n  300  1  qmgr
tlsmgr     unix  -  -  n  1000? 1 tlsmgr
rewrite    unix  -  -  n  -    -  trivial-rewrite
bounce     unix  -  -  n  -    0  bounce
defer      unix  -  -  n  -    0  bounce
trace      unix  -  -  n  -    0  bounce
verify     unix  -  -  n  -    1  verify
flush      unix  n  -  n  1000? 0 flush
proxymap   unix  -  -  n  -    -  proxymap
proxywrite unix  -  -  n  -    1  proxymap
smtp       unix  -  -  n  -    -  smtp
relay      unix  -  -  n  -    -  smtp
showq      unix  n  -  n  -    -  showq
error      unix  -  -  n  -    -  error
retry      unix  -  -  n  -    -  error
discard    unix  -  -  n  -    -  discard
local      unix  -  n  n  -    -  local
virtual    unix  -  n  n  -    -  virtual
lmtp       unix  -  -  n  -    -  lmtp
anvil      unix  -  -  n  -    1  anvil
scache     unix  -  -  n  -    1  scache
postlog    unix-dgram n - n -  1  postlogd
END
}

case $action in
  start)
    alive "$(pid)" && die "$name runs already"
    listening "$port" && die "port $port is taken"
    configure
    postfix -c "$etc" start >"$dir/log/start.out" 2>&1 || { cat "$dir/log/start.out" "$dir/log/mail.log" >&2; exit 1; }
    wait_listen "$port" || die "does not listen on $port"
    echo "$name pid $(pid) port $port" ;;
  stop)
    p=$(pid); alive "$p" || { echo "$name is not running"; exit 0; }
    stop_pid "$p"; echo "$name stopped" ;;
  status)
    p=$(pid); alive "$p" || { echo "$name is not running"; exit 1; }
    echo "$name pid $p port $port, in queue: $(find "$dir"/spool/{incoming,active,deferred,hold} -type f 2>/dev/null | wc -l)" ;;
  pid) p=$(pid); alive "$p" && echo "$p" ;;
  *) die "usage: peer-postfix.sh start|stop|status|pid [plain|milter]" ;;
esac
