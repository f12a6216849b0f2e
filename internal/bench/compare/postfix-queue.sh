#!/bin/sh
# Makes a Postfix that only sends, with its own configuration and queue; nothing in /etc is used or changed. Run as root.
#
#   postfix-queue.sh DIR PORT SINKPORT RESOLVER
#
# It takes mail for anywhere on 127.0.0.1:PORT and puts it on hold. MX hosts are spoken to on SINKPORT. RESOLVER is the address of a DNS
# server on port 53, which only this Postfix asks. Settings are the defaults, but for 500 processes instead of 100; mail to
# one domain may have 20 connections.
set -eu
dir=$1 port=$2 sink=$3 resolver=$4
mkdir -p "$dir/etc" "$dir/queue" "$dir/data" "$dir/log"
dir=$(cd "$dir" && pwd)
chmod 755 "$dir" "$dir/etc"
chown postfix:root "$dir/data"
chmod 777 "$dir/log"
: >"$dir/log/postfix.log"
chmod 666 "$dir/log/postfix.log" # postsuper writes it as another user
echo "nameserver $resolver" >"$dir/resolv.conf"
cat >"$dir/etc/main.cf" <<END
compatibility_level = 3.6
queue_directory = $dir/queue
data_directory = $dir/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
maillog_file = $dir/log/postfix.log
maillog_file_prefixes = $dir/log
syslog_name = postfix-queue
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mx.bench.test
mydestination =
mynetworks = 127.0.0.1/32
alias_maps =
alias_database =
smtpd_sender_restrictions = static:HOLD
smtpd_client_connection_count_limit = 0
smtp_tcp_port = $sink
default_process_limit = 500
END
cat >"$dir/etc/master.cf" <<END
127.0.0.1:$port inet n - n - - smtpd
pickup    unix  n       -       n       60      1       pickup
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
tlsmgr    unix  -       -       n       1000?   1       tlsmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
proxywrite unix -       -       n       -       1       proxymap
smtp      unix  -       -       n       -       -       smtp
showq     unix  n       -       n       -       -       showq
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
discard   unix  -       -       n       -       -       discard
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
postlog   unix-dgram n  -       n       -       1       postlogd
END
cp /usr/share/postfix/dynamicmaps.cf "$dir/etc/" 2>/dev/null || :
cat >"$dir/start" <<END
#!/bin/sh
set -e
/usr/sbin/postfix -c $dir/etc check >/dev/null 2>&1 || :
exec unshare --mount sh -c 'mount --bind $dir/resolv.conf /etc/resolv.conf && exec /usr/sbin/postfix -c $dir/etc start' >/dev/null 2>&1
END
chmod 755 "$dir/start"
