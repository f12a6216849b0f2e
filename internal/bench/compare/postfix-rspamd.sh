#!/bin/sh
# Gives a running Postfix (postfix-dovecot.sh) an rspamd of its own from Debian's package, and a port at which it is asked.
# Run as root.
#
#   postfix-rspamd.sh DIR PAIR PORT MILTERPORT DNS PROXY
#
# Postfix takes mail at PORT from a proxy at the address PROXY that announces its clients, and shows it to rspamd's proxy worker,
# which scans itself: one worker for each core. DNS (address:port) answers rspamd. What needs the world outside (block lists,
# fuzzy storage, ASN, maps) and what needs Redis (Bayes, greylisting, neural nets) is off or does nothing: all that makes it faster.
set -eu
dir=$1 pair=$2 port=$3 milter=$4 dns=$5 proxy=$6
mkdir -p "$dir/local.d" "$dir/db" "$dir/run" "$dir/log"
chmod 755 "$dir" "$dir/local.d"
chown _rspamd:_rspamd "$dir/db" "$dir/run" "$dir/log"
cat >"$dir/local.d/worker-proxy.inc" <<END
bind_socket = "127.0.0.1:$milter";
milter = yes;
count = $(nproc);
upstream "local" {
  default = yes;
  self_scan = yes;
}
END
for worker in normal controller; do
	echo 'enabled = false;' >"$dir/local.d/worker-$worker.inc"
done
for module in fuzzy_check rbl asn; do
	echo 'enabled = false;' >"$dir/local.d/$module.conf"
done
echo "dns { nameserver = [\"$dns\"]; }" >"$dir/local.d/options.inc"
cat >"$dir/local.d/logging.inc" <<END
type = "file";
filename = "$dir/log/rspamd.log";
level = "notice";
END
rspamd -u _rspamd -g _rspamd --var=LOCAL_CONFDIR="$dir" --var=DBDIR="$dir/db" --var=RUNDIR="$dir/run" --var=LOGDIR="$dir/log" -p "$dir/run/pid" >/dev/null 2>&1

# Its expressions are compiled once; it is faster afterwards.
last=x n=0
while [ $n -lt 60 ]; do
	now=$(ls "$dir/db" | grep -c '\.hs' || true)
	[ "$now" -gt 20 ] && [ "$now" = "$last" ] && break
	last=$now n=$((n + 1))
	sleep 2
done

etc=$pair/postfix/etc
echo "127.0.0.1:$port inet n - n - - smtpd -o syslog_name=postfix-bench/checked -o smtpd_upstream_proxy_protocol=haproxy -o smtpd_peername_lookup=no -o smtpd_milters=inet:127.0.0.1:$milter -o milter_default_action=tempfail" >>"$etc/master.cf"
postfix -c "$etc" reload >/dev/null 2>&1
