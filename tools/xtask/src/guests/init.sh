#!/bin/busybox sh
# The guests' first process: brings devices up as the kernel's command line says (words `vc_...=...` come here as
# variables), then serves commands on a terminal of its own, so that kernel messages do not mix with the answers.
#
#   vc_tty      the terminal
#   vc_modules  modules to load, separated by commas; `name:a=1:b=2` has parameters
#
# A command is a line `NUMBER BASE64`; the answer is lines of base64 between `@begin NUMBER` and `@end NUMBER STATUS`.
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/ LC_ALL=C
/bin/busybox --install -s /bin/box
export PATH=$PATH:/bin/box
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /tmp /run /dev/pts
mount -t devpts pts /dev/pts
echo 1 >/proc/sys/kernel/printk
mods=/lib/modules/$(uname -r)
for module in $(echo "$vc_modules" | tr , ' '); do
  name=${module%%:*}
  [ -f "$mods/$name.ko" ] || continue
  params=$(echo "${module#"$name"}" | tr : ' ')
  insmod "$mods/$name.ko" $params || echo "init: cannot load $name"
done
ip link set lo up
stty -F "/dev/$vc_tty" raw -echo
exec 3<>"/dev/$vc_tty"
echo "@ready $(cat /proc/sys/kernel/random/boot_id)" >&3
while read -r number command <&3; do
  {
    # Debian's busybox takes its own program before any other of the name; these two can do more.
    echo 'ip() { /bin/ip "$@"; }; ping() { /bin/ping "$@"; }'
    echo "$command" | base64 -d
  } >/tmp/command
  sh /tmp/command </dev/null >/tmp/output 2>&1 3>&-
  status=$?
  {
    echo "@begin $number"
    base64 /tmp/output
    echo "@end $number $status"
  } >&3
done
