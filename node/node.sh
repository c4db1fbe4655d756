#!/bin/bash
# A real node without an API server: containerd (CDI on) and a kubelet that runs static pods, in mount and network
# namespaces and cgroups of their own, so that nothing of this machine's is touched. Needs root. Up in about 5 s.
#
#   node.sh up | down                 start; stop everything it started (its logs stay)
#   node.sh check                     say what this machine lacks for it
#   node.sh foreground                up, until Ctrl-C, then down
#   node.sh in CMD...                 run CMD on the node: it sees the kubelet's sockets and /var/run/cdi
#   node.sh pods                      what the kubelet says of its pods, as JSON
#   node.sh ctr ARG...                containerd's client, e.g. `tasks ls`, `tasks exec --exec-id x ID ls -l /dev/kvm`
#   node.sh kubelet-stop | kubelet-start | kubelet-kill9       the kubelet alone: containerd and the pods live on
#
# Settings, from the environment; those marked * count at `up` and stay until `down`:
#   R=dir               the node's run directory (default /tmp/kubelet-plugin-node); another one is another node beside it
#   NODE_DEV=private *  a /dev of the node's own: kvm (where the host has it), crand0 and crand1 can be made, changed and
#                       removed there without the host noticing (default: host, the host's /dev)
#   NODE_CDI=host *     the host's /etc/cdi is seen, read-only (default: private, an empty one)
#   KUBELET, KUBELET_VERSION, CONTAINERD *     which kubelet and containerd: see fetch.sh
#   KUBELET_CONFIG=file *           template of its configuration (default ../kubelet/kubelet.yaml)
#   KUBELET_LOG=file *              its log (default R/kubelet.log)
# In R: manifests/ (static pods), log/pods/, kubelet.log, containerd.log, node.log; images: localhost/busybox:1
# (with /bin/kvm-check), localhost/pause:1.
set -euo pipefail

SELF=$(readlink -f "$0")
HERE=${SELF%/*}
R=$(readlink -m "${R:-/tmp/kubelet-plugin-node}")
export R NODE_DEV=${NODE_DEV:-host} NODE_CDI=${NODE_CDI:-private}
CG=kubelet-plugin-$(printf %s "$R" | sha256sum | cut -c1-8)
PLUGINS=/var/lib/kubelet/device-plugins

say() { echo "node: $*" >&2; }
die() { say "$*"; exit 1; }

# --- checks and waiting ---------------------------------------------------------------------------------------------

check() {
  [ "$(id -u)" = 0 ] || die "a node needs root: run this with sudo, or as root"
  local tool
  for tool in unshare:util-linux nsenter:util-linux setsid:util-linux mount:mount python3:python3 sed:sed; do
    command -v "${tool%:*}" >/dev/null || die "${tool%:*} is missing: apt-get install ${tool#*:}"
  done
  unshare -m -n true 2>/dev/null || die "this root may not make namespaces (CAP_SYS_ADMIN): in a container, run it privileged"
  [ -e /sys/fs/cgroup/cgroup.controllers ] || compgen -G '/sys/fs/cgroup/*/cgroup.procs' >/dev/null || die "no cgroups under /sys/fs/cgroup"
  [ -w /sys/fs/cgroup ] || die "/sys/fs/cgroup is read-only: in a container, run it privileged"
}

alive() { # NAME: the process of R/NAME.pid is one of this node's, and no zombie
  local pid
  pid=$(cat "$R/$1.pid" 2>/dev/null) || return 1
  grep -qs "/$CG/" "/proc/$pid/cgroup" && ! grep -qs '^State:.Z' "/proc/$pid/status"
}
wait_for() { # SECONDS WHAT NAME LOG COMMAND...: until COMMAND succeeds, while the process NAME lives
  local limit=$((SECONDS + $1)) what=$2 name=$3 log=$4 why=
  shift 4
  until "$@"; do
    if ! alive "$name"; then why="$name ended"; elif [ $SECONDS -ge "$limit" ]; then why="waited in vain"; fi
    if [ -n "$why" ]; then
      complaints "$log"
      die "$why, before $what; the whole log: $log"
    fi
    sleep 0.05
  done
}
complaints() { # LOG: its last errors, or else its last lines
  grep -E '^[EF][0-9]{4} |level=(error|fatal)' "$1" | tail -n 5 >&2 || tail -n 10 "$1" >&2 || true
}
ns() { cat "$R/ns.pid"; }
is_up() { alive ns || die "no node is up in $R: node.sh up"; }
inside() { nsenter -t "$(ns)" -m -n --wdns="$PWD" -- "$@"; }
kubelet_answers() { # a stale socket file does not stand in this list
  grep -qs " 00010000 .* $PLUGINS/kubelet.sock$" "/proc/$(ns)/net/unix" && grep -qs ' 0100007F:280F .* 0A ' "/proc/$(ns)/net/tcp"
}

# --- cgroups: what a node started is what stands in its cgroups -------------------------------------------------------

hierarchies() {
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then echo /sys/fs/cgroup; return; fi
  local directory
  for directory in /sys/fs/cgroup/*; do
    if [ ! -L "$directory" ] && [ -e "$directory/cgroup.procs" ]; then echo "$directory"; fi
  done
}
make_cgroups() {
  local root controller
  for root in $(hierarchies); do
    if [ "$root" = /sys/fs/cgroup ]; then
      cat "$root/cgroup.subtree_control" >"$R/controllers"
      for controller in cpu cpuset memory pids hugetlb io; do
        if grep -qw $controller "$root/cgroup.controllers"; then
          echo "+$controller" >"$root/cgroup.subtree_control" || die "cgroup controller $controller cannot be enabled in $root: in a container, run it with --cgroupns=host"
        fi
      done
    fi
    mkdir -p "$root/$CG/system"
    if [ "$root" = /sys/fs/cgroup ]; then
      sed 's/\</+/g' "$root/$CG/cgroup.controllers" >"$root/$CG/cgroup.subtree_control"
    elif [ -e "$root/cpuset.cpus" ]; then
      local file
      for file in cpuset.cpus cpuset.mems; do
        cat "$root/$file" >"$root/$CG/$file"
        cat "$root/$file" >"$root/$CG/system/$file"
      done
    fi
  done
}
join_cgroups() {
  local root
  for root in $(hierarchies); do echo $$ >"$root/$CG/system/cgroup.procs"; done
}
members() {
  local root
  for root in $(hierarchies); do
    if [ -d "$root/$CG" ]; then find "$root/$CG" -name cgroup.procs -exec cat {} + 2>/dev/null || true; fi
  done | sort -un
}
remove_cgroups() {
  local root controller
  for root in $(hierarchies); do
    if [ -d "$root/$CG" ]; then find "$root/$CG" -depth -type d -exec rmdir {} + 2>/dev/null || true; fi
  done
  for root in $(hierarchies); do [ ! -d "$root/$CG" ] || return 1; done
  if [ -e "$R/controllers" ]; then
    for controller in $(cat /sys/fs/cgroup/cgroup.subtree_control); do
      # not those that were on before, nor those that another node uses
      grep -qw "$controller" "$R/controllers" || echo "-$controller" >/sys/fs/cgroup/cgroup.subtree_control || true
    done 2>/dev/null
    rm -f "$R/controllers"
  fi
}

# --- the node, from outside -------------------------------------------------------------------------------------------

prepare() { # R: directories, binaries, images, configuration
  if [ -L "$R" ] || { [ -e "$R" ] && [ "$(stat -c %u "$R")" != 0 ]; }; then die "$R is not root's directory: give another one with R="; fi
  mkdir -p "$R"; chmod 700 "$R"
  wipe
  rm -rf --one-file-system "${R:?}/log" "$R"/*.log
  mkdir -p "$R"/{bin,kubelet,log,cdi,etc-cdi,certs,manifests,cni,sysctl,dev,overlay/{lower,upper,work,merged}} \
    "$R"/images/{pause,busybox/{bin,dev,proc,sys,tmp}}
  local name found
  for name in containerd runc busybox cni pause kvm-check kubelet; do
    found=$(sh "$HERE/fetch.sh" path "$name")
    ln -sfn "$(readlink -f "$found")" "$R/bin/$name"
  done
  for name in containerd-shim-runc-v2 ctr; do ln -sfn "$(dirname "$(readlink -f "$R/bin/containerd")")/$name" "$R/bin/$name"; done
  "$R/bin/kubelet" --version >"$R/kubelet.version" || die "$(readlink -f "$R/bin/kubelet") does not run"
  ln -sfn "$(readlink -m "${KUBELET_LOG:-$R/kubelet.log}")" "$R/kubelet.link"
  : >"$R/kubelet.link"
  cp -L "$R/bin/pause" "$R/images/pause/pause"
  cp -L "$R/bin/busybox" "$R/bin/kvm-check" "$R/images/busybox/bin"
  for name in $("$R/bin/busybox" --list); do [ "$name" = busybox ] || ln -s busybox "$R/images/busybox/bin/$name"; done
  python3 "$HERE/pack-image.py" "$R/images/pause" localhost/pause:1 "$R/images/pause.tar" /pause
  python3 "$HERE/pack-image.py" "$R/images/busybox" localhost/busybox:1 "$R/images/busybox.tar" /bin/sh
  echo 'nameserver 127.0.0.1' >"$R/resolv.conf" # the host's may point into /run, which the node does not see
  sed -e "s|\${R}|$R|g" -e "s|\${CGROUP}|$CG|g" "${KUBELET_CONFIG:-$HERE/../kubelet/kubelet.yaml}" >"$R/kubelet.yaml"
  local minor
  minor=$(kubelet_minor)
  if [ "$minor" -ge 31 ] && [ ! -e /sys/fs/cgroup/cgroup.controllers ]; then setting failCgroupV1 false; fi # else 1.35+ refuses cgroup v1
  if [ "$minor" -ge 31 ] && [ "$minor" -lt 36 ]; then setting featureGates '{ResourceHealthStatus: true}'; fi # 1.36's default
}
setting() { # NAME VALUE: of the kubelet, where its configuration says nothing
  grep -q "^$1:" "$R/kubelet.yaml" || printf '\n%s: %s\n' "$1" "$2" >>"$R/kubelet.yaml"
}
kubelet_minor() { sed -E 's/.*v[0-9]+\.([0-9]+)\..*/\1/' "$R/kubelet.version"; }
wipe() { # what a node leaves in R, but for its logs; a plugin that still runs may make its socket anew meanwhile
  wiped || wiped || wiped
}
wiped() {
  rm -rf --one-file-system "${R:?}"/{bin,kubelet,cdi,etc-cdi,certs,manifests,cni,ipam,sysctl,dev,overlay,images,containerd,volume-plugins} \
    "$R"/{kubelet.yaml,kubelet.version,kubelet.link,containerd.toml,containerd.sock,containerd.sock.ttrpc,resolv.conf} "$R"/*.pid
}

up() {
  check
  if alive ns; then die "a node is up in $R already: node.sh down, or another R="; fi
  sh "$HERE/fetch.sh"
  trap 'stop' EXIT # until it is up
  stop # what may be left of a run that was killed
  prepare
  make_cgroups
  setsid unshare -m -n --propagation private bash "$SELF" _hold >"$R/node.log" 2>&1 </dev/null &
  echo $! >"$R/hold.pid"
  disown
  wait_for_hold
  wait_for 30 "containerd answered" containerd "$R/containerd.log" containerd_answers
  local image
  for image in pause busybox; do ctr images import "$R/images/$image.tar" >/dev/null || die "image $image cannot be imported; containerd's log: $R/containerd.log"; done
  start_kubelet
  trap - EXIT
  say "up: kubelet $(kubelet_version), containerd $("$R/bin/containerd" --version | cut -d' ' -f3); static pods: $R/manifests; kubelet's log: $(readlink "$R/kubelet.link")"
}
kubelet_version() { cut -d' ' -f2 "$R/kubelet.version"; }
wait_for_hold() {
  local limit=$((SECONDS + 20))
  until [ -s "$R/ns.pid" ]; do
    if [ $SECONDS -ge $limit ] || ! kill -0 "$(cat "$R/hold.pid")" 2>/dev/null; then
      complaints "$R/node.log"
      die "the node's namespaces could not be set up; the whole log: $R/node.log"
    fi
    sleep 0.02
  done
}
ctr() { inside env CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS=1 "$R/bin/ctr" -a "$R/containerd.sock" -n k8s.io "$@"; }
containerd_answers() { ctr version >/dev/null 2>&1; }

start_kubelet() {
  if alive kubelet; then return; fi
  nsenter -t "$(ns)" -m -n -- setsid bash "$SELF" _kubelet >>"$R/kubelet.link" 2>&1 </dev/null &
  echo $! >"$R/kubelet.pid"
  disown
  until alive kubelet || ! kill -0 "$(cat "$R/kubelet.pid")" 2>/dev/null; do sleep 0.01; done # it joins its cgroup first
  wait_for 90 "the kubelet answered on $PLUGINS/kubelet.sock and port 10255" kubelet "$(readlink "$R/kubelet.link")" kubelet_answers
}
stop_kubelet() { # SIGNAL
  if ! alive kubelet; then return; fi
  kill "-$1" "$(cat "$R/kubelet.pid")"
  local limit=$((SECONDS + 15))
  while alive kubelet; do
    if [ $SECONDS -ge $limit ]; then die "the kubelet (pid $(cat "$R/kubelet.pid")) did not end within 15 s of SIG$1; its log: $(readlink "$R/kubelet.link")"; fi
    sleep 0.05
  done
}
stop() { # kill what is in the node's cgroups, until nothing is
  local limit=$((SECONDS + 20)) left
  while left=$(members); [ -n "$left" ] || ! remove_cgroups; do
    if [ $SECONDS -ge $limit ]; then die "these processes do not end, 20 s after SIGKILL: $(echo $left); cgroups: $(hierarchies | head -n 1)/$CG"; fi
    [ -z "$left" ] || kill -KILL $left 2>/dev/null || true
    sleep 0.05
  done
}
down() {
  check
  if alive kubelet; then kill -TERM "$(cat "$R/kubelet.pid")"; fi
  stop
  if [ -d "$R" ]; then wipe; fi
}

foreground() {
  up
  trap 'trap "" INT TERM HUP; say "stopping"; down' EXIT
  trap 'exit 0' INT TERM HUP
  cat >&2 <<X

Next, in other terminals:
  make run.kvm      the kvm plugin on this node
  make deploy       a pod that asks for github.com.ihcsim/kvm: 1, and what it got
  $HERE/node.sh in CMD...   anything else on this node
Ctrl-C ends the node and everything on it.
X
  while alive kubelet; do sleep 1 & wait $! || true; done
  say "the kubelet ended by itself; its log: $(readlink "$R/kubelet.link")"
  exit 1
}

# --- the node, from inside --------------------------------------------------------------------------------------------

hold() { # mounts, network, containerd; then this process is what keeps the namespaces
  join_cgroups
  mount -t tmpfs -o mode=755 run /run
  mkdir -p /run/cdi /run/lock
  mount --bind "$R/cdi" /run/cdi
  make_directory /var/lib kubelet
  mount --bind "$R/kubelet" /var/lib/kubelet
  mount --bind "$R/log" /var/log
  mount --rbind /etc /etc
  mount -o remount,bind,ro /etc
  if [ "$NODE_CDI" = private ] && [ -d /etc/cdi ]; then mount --bind -o ro "$R/etc-cdi" /etc/cdi; fi
  if [ "$NODE_DEV" = private ]; then private_dev; fi
  sysctls
  mount --make-rshared /
  "$R/bin/busybox" ip link set lo up
  "$R/bin/busybox" ip address add 10.250.0.1/32 dev lo
  configure_containerd
  PATH=$R/bin:/usr/sbin:/usr/bin:/sbin:/bin setsid "$R/bin/containerd" --config "$R/containerd.toml" >>"$R/containerd.log" 2>&1 &
  echo $! >"$R/containerd.pid"
  echo $$ >"$R/ns.pid.part"
  mv "$R/ns.pid.part" "$R/ns.pid"
  exec sleep infinity
}

make_directory() { # PARENT NAME: where the host lacks it, the node sees a PARENT that has it and all that the host's has
  if [ -d "$1/$2" ]; then return; fi
  mkdir /run/parent
  mount -t tmpfs -o mode=755 parent /run/parent
  local entry name
  for entry in "$1"/* "$1"/.[!.]*; do
    name=${entry##*/}
    if [ -L "$entry" ]; then cp -P "$entry" /run/parent
    elif [ -d "$entry" ]; then mkdir "/run/parent/$name"; mount --rbind "$entry" "/run/parent/$name"
    elif [ -e "$entry" ]; then : >"/run/parent/$name"; mount --bind "$entry" "/run/parent/$name"
    fi
  done
  mkdir "/run/parent/$2"
  mount --move /run/parent "$1"
  rmdir /run/parent
}

private_dev() {
  local dev=$R/dev name numbers
  mount -t tmpfs -o mode=755,nosuid dev "$dev"
  while read -r name numbers; do mknod -m 666 "$dev/$name" c $numbers; done <<X
null 1 3
zero 1 5
full 1 7
random 1 8
urandom 1 9
kmsg 1 11
tty 5 0
crand0 1 8
crand1 1 8
X
  mkdir "$dev/pts" "$dev/shm" "$dev/mqueue" "$dev/net"
  mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts "$dev/pts"
  mount -t tmpfs -o mode=1777 shm "$dev/shm"
  ln -s pts/ptmx "$dev/ptmx"
  ln -s /proc/self/fd "$dev/fd"
  for name in stdin:0 stdout:1 stderr:2; do ln -s "/proc/self/fd/${name#*:}" "$dev/${name%:*}"; done
  for name in kvm fuse net/tun; do
    if [ -c "/dev/$name" ]; then mknod -m 600 "$dev/$name" c $(stat -c '0x%t 0x%T' "/dev/$name"); fi
  done
  mount --move "$dev" /dev
}

sysctls() { # the kubelet writes these of the shared kernel: it is shown files that hold what it wants already
  local name value
  while read -r name value; do
    if [ -e "/proc/sys/$name" ]; then
      echo "$value" >"$R/sysctl/${name##*/}"
      mount --bind "$R/sysctl/${name##*/}" "/proc/sys/$name"
    fi
  done <<X
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
X
}

configure_containerd() {
  local snapshotter=overlayfs o=$R/overlay
  if mount -t overlay -o "lowerdir=$o/lower,upperdir=$o/upper,workdir=$o/work" overlay "$o/merged"; then
    umount "$o/merged"
  else
    snapshotter=native # R is on an overlay itself, as in a container
  fi
  cat >"$R/cni/10-ptp.conflist" <<X
{
  "cniVersion": "0.4.0",
  "name": "ptp",
  "plugins": [
    {
      "type": "ptp",
      "ipMasq": false,
      "ipam": {
        "type": "host-local",
        "dataDir": "$R/ipam",
        "ranges": [[{"subnet": "10.88.0.0/24"}]],
        "routes": [{"dst": "0.0.0.0/0"}]
      }
    }
  ]
}
X
  local cni version cri images bin pause pinned
  cni=$(readlink "$R/bin/cni")
  case $("$R/bin/containerd" --version) in
  *' 1.'* | *' v1.'*)
    version=2 cri='"io.containerd.grpc.v1.cri"' images="$cri.containerd" bin="bin_dir = \"$cni\""
    pause='sandbox_image = "localhost/pause:1"' pinned=
    ;;
  *)
    version=3 cri='"io.containerd.cri.v1.runtime"' images='"io.containerd.cri.v1.images"' bin="bin_dirs = [\"$cni\"]"
    pause='' pinned='pinned_images = { sandbox = "localhost/pause:1" }'
    ;;
  esac
  # Of these, enable_cdi: containerd 1.7's default is false, and then CDI names are ignored in silence;
  # restrict_oom_score_adj: without CAP_SYS_RESOURCE every sandbox would fail, with a misleading message;
  # nri: on by default in 2.x, it would start what it finds in the machine's /opt/nri.
  cat >"$R/containerd.toml" <<X
version = $version
root = "$R/containerd/root"
state = "$R/containerd/state"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[grpc]
  address = "$R/containerd.sock"
[plugins."io.containerd.nri.v1.nri"]
  disable = true
[plugins.$cri]
  enable_cdi = true
  cdi_spec_dirs = ["/etc/cdi", "/var/run/cdi"]
  restrict_oom_score_adj = true
  disable_apparmor = true
  tolerate_missing_hugetlb_controller = true
  $pause
  [plugins.$cri.cni]
    $bin
    conf_dir = "$R/cni"
  [plugins.$cri.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins.$cri.containerd.runtimes.runc.options]
      BinaryName = "$(readlink "$R/bin/runc")"
[plugins.$images]
  snapshotter = "$snapshotter"
  $pinned
X
}

kubelet() {
  join_cgroups
  local remote=()
  if [ "$(kubelet_minor)" -lt 24 ]; then remote=(--container-runtime=remote); fi
  PATH=/usr/sbin:/usr/bin:/sbin:/bin exec "$R/bin/kubelet" --config="$R/kubelet.yaml" "${remote[@]}" \
    --container-runtime-endpoint="unix://$R/containerd.sock" --hostname-override=node1 --node-ip=10.250.0.1 --cert-dir="$R/certs" --v=4
}

case ${1:-} in
check) check ;;
up) up ;;
down) down ;;
foreground) foreground ;;
pods) check; is_up; inside "$R/bin/busybox" wget -q -O - http://127.0.0.1:10255/pods ;;
in) check; is_up; shift; exec nsenter -t "$(ns)" -m -n --wdns="$PWD" -- "$@" ;;
ctr) check; is_up; shift; ctr "$@" ;;
kubelet-stop) check; is_up; stop_kubelet TERM ;;
kubelet-kill9) check; is_up; stop_kubelet KILL ;;
kubelet-start) check; is_up; start_kubelet ;;
_hold) hold ;;
_kubelet) kubelet ;;
*) sed -n '2,/^set/{/^set/d;s/^# \{0,1\}//;p}' "$SELF"; exit 2 ;;
esac
