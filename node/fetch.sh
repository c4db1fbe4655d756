#!/bin/sh
# What a real test node needs, in ~/.cache/kubelet-plugin/node, from Debian packages alone: nothing is installed into the
# system and no root is needed (apt runs on a private state, packages are unpacked, not installed).
#
#   sh node/fetch.sh [COMPONENT...]     fetch or build; what is there is kept
#                                       default: kubelet containerd runc busybox cni pause kvm-check; also: sample-device-plugin
#   sh node/fetch.sh path COMPONENT     print where it is (no network); fails when it has not been fetched
#
# The machine's own runc, static busybox and CNI plugins are preferred. containerd suits the kubelet, and both may be there:
# trixie's 1.7 (bookworm's 1.6 knows no CDI, and 2.x no CRI v1alpha2, which is all that kubelet 1.20 speaks), but sid's 2.x for
# kubelets from 1.36 on, the first that upstream recommends no 1.x for; from 1.38 on they need 2.x's RuntimeConfig to start.
# CONTAINERD=path is another one, with its shim and ctr beside it. pause and kvm-check are compiled with cc, or, where there is
# none, with a gcc unpacked into the cache. sample-device-plugin is upstream's Go plugin, built from the same source package as
# the kubelet, to measure against.
#
# The kubelet is, in this order:
#   1. KUBELET=path;
#   2. KUBELET_VERSION=1.31.14: that official release from dl.k8s.io, its published SHA-256 checked; nothing else will do;
#   3. what the cache holds: the default release first, then the one built here;
#   4. the default release, where dl.k8s.io answers within 3 s;
#   5. 1.20.2, built from Debian's source package (about 3 minutes on 2 cores): the last one in Debian's archive with the
#      whole upstream tree. It has no cdi_devices in v1beta1, so CDI works there by annotation alone.
# So a machine with the internet has a modern kubelet in seconds, and one that sees nothing but a Debian mirror builds one,
# once; to replace a built one by the release, say KUBELET_VERSION or remove the file `kubelet` from the cache.
#
# Settings: NODE_CACHE=dir   KUBELET_RELEASES=url (a mirror of https://dl.k8s.io)   MIRROR=url (a Debian archive; default: apt's)
# Downloads and builds go to a temporary name and are renamed when complete; concurrent runs wait for each other.
# NODE_CACHE/.work is scratch (3 GB after a build) and may be removed at any time.
set -eu

HERE=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
CACHE=${NODE_CACHE:-$HOME/.cache/kubelet-plugin/node}
W=$CACHE/.work
RELEASES=${KUBELET_RELEASES:-https://dl.k8s.io}
DEFAULT_VERSION=1.31.14
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

say() { echo "fetch: $*" >&2; }
die() { say "$*"; exit 1; }
need() { # COMMAND PACKAGE
  command -v "$1" >/dev/null 2>&1 || die "$1 is missing: apt-get install $2"
}

# --- where things are -----------------------------------------------------------------------------------------------

VERSION=${KUBELET_VERSION:-}
VERSION=${VERSION#v}
CONTAINERD_2_SINCE=36 # the kubelet's minor version

static() { ! ldd "$1" >/dev/null 2>&1; }
own_or_cached() { # NAME DIRECTORY...: the first directory that has it, else the cache
  name=$1; shift
  for directory in "$@"; do
    if [ -x "$directory/$name" ]; then echo "$directory/$name"; return; fi
  done
  echo "$CACHE/$name"
}
cached_kubelet() {
  if [ -x "$CACHE/kubelet-v$DEFAULT_VERSION" ]; then echo "$CACHE/kubelet-v$DEFAULT_VERSION"; else echo "$CACHE/kubelet"; fi
}
kubelet_minor() { # of the chosen kubelet; 0 where it is not there yet and no version was asked for
  kubelet=$(where kubelet)
  minor=$(if [ -x "$kubelet" ]; then "$kubelet" --version 2>/dev/null; else echo "v$VERSION"; fi | sed -nE 's/.*v[0-9]+\.([0-9]+)\..*/\1/p')
  echo "${minor:-0}"
}
where_containerd() {
  if [ -n "${CONTAINERD:-}" ]; then echo "$CONTAINERD"
  elif [ "$(kubelet_minor)" -ge $CONTAINERD_2_SINCE ]; then echo "$CACHE/containerd-2/containerd"
  else echo "$CACHE/containerd"
  fi
}
where() { # COMPONENT
  case $1 in
  runc) own_or_cached runc /usr/sbin /usr/bin /usr/local/sbin /usr/local/bin ;;
  busybox) if [ -x /bin/busybox ] && static /bin/busybox; then echo /bin/busybox; else echo "$CACHE/busybox"; fi ;;
  cni) for d in /usr/lib/cni /opt/cni/bin "$CACHE/cni"; do if [ -x "$d/ptp" ] && [ -x "$d/host-local" ]; then break; fi; done; echo "$d" ;;
  kubelet) if [ -n "${KUBELET:-}" ]; then echo "$KUBELET"; elif [ -n "$VERSION" ]; then echo "$CACHE/kubelet-v$VERSION"; else cached_kubelet; fi ;;
  containerd) where_containerd ;;
  pause | kvm-check | sample-device-plugin) echo "$CACHE/$1" ;;
  *) die "no component is called $1" ;;
  esac
}
present() { # COMPONENT
  found=$(where "$1")
  case $1 in
  cni) [ -x "$found/ptp" ] && [ -x "$found/host-local" ] ;;
  containerd) [ -x "$found" ] && [ -x "$found-shim-runc-v2" ] && [ -x "$(dirname "$found")/ctr" ] ;;
  *) [ -x "$found" ] ;;
  esac
}

# --- Debian packages ------------------------------------------------------------------------------------------------

archive() { # the Debian archive that apt uses here
  [ -z "${MIRROR:-}" ] || { echo "$MIRROR"; return; }
  . /etc/os-release
  apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' 'Component: main' |
    awk -v own="${VERSION_CODENAME:-stable}" '$1 == own || $1 ~ /^(oldstable|stable|testing|unstable|sid)$/ { print $2; exit }'
}
SUITES="bookworm trixie"
apt_is_ready=
apt_ready() { # indexes of the Debian releases we take from, in a state of our own
  [ -z "$apt_is_ready" ] || return 0
  need apt-get apt; need dpkg-deb dpkg
  [ -f $KEYRING ] || die "$KEYRING is missing: apt-get install debian-archive-keyring"
  mirror=$(archive)
  [ -n "$mirror" ] || die "apt names no Debian archive on this machine: give one with MIRROR=url"
  mkdir -p "$W/apt/lists/partial" "$W/apt/cache/archives/partial" "$W/dl"
  for suite in $SUITES; do echo "deb [arch=$ARCH signed-by=$KEYRING] $mirror $suite main"; done >"$W/apt/sources.list"
  echo "deb-src [signed-by=$KEYRING] $mirror bookworm main" >>"$W/apt/sources.list"
  say "reading Debian's package lists"
  apt update || die "Debian's package lists cannot be read from $mirror"
  apt_is_ready=yes
}
apt() { # apt-get on that state
  apt-get -qq -o Dir::Etc::sourcelist="$W/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists="$W/apt/lists" \
    -o Dir::Cache="$W/apt/cache" -o Debug::NoLocking=true -o APT::Sandbox::User= -o Acquire::Retries=3 "$@" >&2
}
unpack() { # PACKAGE/SUITE... DIRECTORY: the directory appears complete or not at all
  for directory; do :; done
  [ ! -d "$directory" ] || return 0
  apt_ready
  rm -rf "$directory.part" "$directory.debs"; mkdir -p "$directory.part" "$directory.debs"
  while [ $# -gt 1 ]; do
    say "Debian package $1"
    (cd "$directory.debs" && apt download "$1")
    shift
  done
  for deb in "$directory.debs"/*.deb; do dpkg-deb -x "$deb" "$directory.part"; done
  rm -rf "$directory.debs"
  mv "$directory.part" "$directory"
}
keep() { # FILE NAME: into the cache, complete or not at all
  cp "$1" "$CACHE/.$2.part" && chmod 755 "$CACHE/.$2.part" && mv "$CACHE/.$2.part" "$CACHE/$2"
}

# --- components -----------------------------------------------------------------------------------------------------

get_containerd() {
  case $(where containerd) in
  "$CACHE/containerd")
    unpack containerd/trixie "$W/containerd-deb"
    for name in containerd-shim-runc-v2 ctr containerd; do keep "$W/containerd-deb/usr/bin/$name" $name; done
    ;;
  "$CACHE/containerd-2/containerd")
    SUITES="$SUITES sid" apt_is_ready=
    unpack containerd/sid "$W/containerd-2-deb"
    "$W/containerd-2-deb/usr/bin/containerd" --version >&2 || die "sid's containerd does not run here: give another with CONTAINERD=path"
    rm -rf "$CACHE/.containerd-2.part" "$CACHE/containerd-2"
    cp -r "$W/containerd-2-deb/usr/bin" "$CACHE/.containerd-2.part"; mv "$CACHE/.containerd-2.part" "$CACHE/containerd-2"
    ;;
  *) die "CONTAINERD=$CONTAINERD is not a program with containerd-shim-runc-v2 and ctr beside it" ;;
  esac
}
get_runc() { # bookworm's: trixie's needs a newer libc
  unpack runc/bookworm "$W/runc-deb"
  if ldd "$W/runc-deb/usr/sbin/runc" | grep 'not found' >&2; then die "runc lacks these libraries: apt-get install libseccomp2"; fi
  keep "$W/runc-deb/usr/sbin/runc" runc
}
get_busybox() { unpack busybox-static/bookworm "$W/busybox-deb"; keep "$W/busybox-deb/bin/busybox" busybox; }
get_cni() {
  unpack containernetworking-plugins/bookworm "$W/cni-deb"
  rm -rf "$CACHE/.cni.part"; cp -r "$W/cni-deb/usr/lib/cni" "$CACHE/.cni.part"; mv "$CACHE/.cni.part" "$CACHE/cni"
}

compile() { # NAME: a static program from NAME.c
  if command -v cc >/dev/null 2>&1; then
    cc -Os -Wall -static -o "$CACHE/.$1.part" "$HERE/$1.c" || die "cc cannot make a static program: apt-get install gcc libc6-dev"
  else
    case $ARCH in amd64) triplet=x86-64-linux-gnu ;; arm64) triplet=aarch64-linux-gnu ;; esac
    set -- "$1" gcc-12 cpp-12 libgcc-12-dev libisl23 libmpc3 libmpfr6 libgmp10 libzstd1 zlib1g libc6-dev linux-libc-dev \
      binutils-common "binutils-$triplet" libbinutils libctf0 libctf-nobfd0 libgprofng0 libjansson4
    name=$1; shift
    for package; do shift; set -- "$@" "$package/bookworm"; done
    unpack "$@" "$W/gcc-deb"
    for tool in as ld; do ln -sf "$(basename "$W/gcc-deb/usr/bin/"*-linux-gnu-$tool)" "$W/gcc-deb/usr/bin/$tool"; done
    libraries=$(echo "$W/gcc-deb/usr/lib/"*-linux-gnu | tr ' ' ':')
    LD_LIBRARY_PATH=$libraries PATH=$W/gcc-deb/usr/bin:$PATH "$W/gcc-deb/usr/bin/gcc-12" --sysroot="$W/gcc-deb" -B"$W/gcc-deb/usr/bin" \
      -Os -Wall -static -o "$CACHE/.$name.part" "$HERE/$name.c" || die "no C compiler works here: apt-get install gcc libc6-dev"
    set -- "$name"
  fi
  mv "$CACHE/.$1.part" "$CACHE/$1"
}

get_release() { # VERSION SECONDS: an official kubelet, when it answers within SECONDS
  case $1 in *[!0-9.]* | *.*.*.* | .* | *.) die "KUBELET_VERSION=$1 is not a version such as $DEFAULT_VERSION" ;; *.*.*) ;; *) die "KUBELET_VERSION=$1 is not a version such as $DEFAULT_VERSION" ;; esac
  need python3 python3
  url=$RELEASES/release/v$1/bin/linux/$ARCH/kubelet
  say "asking for kubelet $1 at $RELEASES"
  sum=$(timeout "$2" python3 "$HERE/download.py" checksum "$url.sha256") || { say "kubelet $1 cannot be fetched from there"; return 1; }
  say "fetching $url"
  python3 "$HERE/download.py" file "$url" "$sum" "$CACHE/kubelet-v$1" && return
  [ $? -ne 3 ] || die "what $RELEASES sends is not what it publishes"
  return 1
}
get_kubelet() {
  if [ -n "${KUBELET:-}" ]; then die "KUBELET=$KUBELET is not a program"; fi
  if [ -n "$VERSION" ]; then
    get_release "$VERSION" 20 || die "KUBELET_VERSION=$VERSION: give KUBELET=path instead, or leave both out to build one from Debian's source"
  elif ! get_release "$DEFAULT_VERSION" 3; then
    say "building kubelet 1.20.2 from Debian's source package instead: about 3 minutes on 2 cores, once"
    go_build kubelet ./cmd/kubelet
  fi
}

SOURCE=kubernetes_1.20.5+really1.20.2
SOURCE_SHA256=b83c0780efb182d928dc63d46488a847f161f04e40a94b96bf5247dd671ecdfc
TREE=$W/gopath/src/k8s.io/kubernetes # in a GOPATH: Go refuses that age's go.mod in module mode
source_tree() {
  [ ! -f "$TREE/.unpacked" ] || return 0
  if [ ! -f "$W/dl/$SOURCE.orig.tar.gz" ] || ! echo "$SOURCE_SHA256  $W/dl/$SOURCE.orig.tar.gz" | sha256sum -c --status; then
    apt_ready
    say "Debian source package $SOURCE"
    (cd "$W/dl" && apt source --download-only "kubernetes=${SOURCE#*_}-1.1+deb12u1")
    echo "$SOURCE_SHA256  $W/dl/$SOURCE.orig.tar.gz" | sha256sum -c --status || die "$SOURCE.orig.tar.gz is not the file it should be"
  fi
  rm -rf "$TREE"; mkdir -p "$TREE"
  tar xzf "$W/dl/$SOURCE.orig.tar.gz" -C "$TREE" --strip-components=1
  touch "$TREE/.unpacked"
}
go_build() { # NAME PACKAGE
  source_tree
  unpack golang-1.19-go/bookworm golang-1.19-src/bookworm "$W/go-deb"
  version=k8s.io/kubernetes/vendor/k8s.io/component-base/version
  flags="-s -w -buildid= -X $version.gitVersion=v1.20.2 -X $version.gitMajor=1 -X $version.gitMinor=20 -X $version.gitTreeState=archive"
  rm -rf "$W/tmp"; mkdir -p "$W/home" "$W/tmp"
  (
    cd "$TREE"
    HOME=$W/home GOROOT=$W/go-deb/usr/lib/go-1.19 GOCACHE=$W/gocache GOPATH=$W/gopath GO111MODULE=off CGO_ENABLED=0 GOFLAGS= GOPROXY=off TMPDIR=$W/tmp
    export HOME GOROOT GOCACHE GOPATH GO111MODULE CGO_ENABLED GOFLAGS GOPROXY TMPDIR
    exec nice -n 5 "$GOROOT/bin/go" build -v -trimpath -ldflags "$flags" -o "$CACHE/.$1.part" "$2"
  ) >"$W/build.log" 2>&1 9>&- &
  builder=$!
  trap 'kill $builder 2>/dev/null' EXIT
  trap 'exit 130' INT TERM HUP
  seconds=0
  while kill -0 $builder 2>/dev/null; do
    sleep 1; seconds=$((seconds + 1))
    [ $((seconds % 15)) -ne 0 ] || say "building $1: $seconds s, $(wc -l <"$W/build.log") packages compiled"
  done
  wait $builder || { tail -n 20 "$W/build.log" >&2; die "$1 could not be built; the whole log: $W/build.log"; }
  trap - EXIT INT TERM HUP
  mv "$CACHE/.$1.part" "$CACHE/$1"
}
get_pause() { compile pause; }
get_kvm_check() { compile kvm-check; }
get_sample_device_plugin() { go_build sample-device-plugin ./test/images/sample-device-plugin; }

# --- main -----------------------------------------------------------------------------------------------------------

if [ "${1:-}" = path ]; then
  present "$2" || die "$2 is not there yet: sh $HERE/fetch.sh $2"
  where "$2"
  exit
fi
[ $# -gt 0 ] || set -- kubelet containerd runc busybox cni pause kvm-check # which containerd depends on the kubelet
need dpkg dpkg; need flock util-linux
ARCH=$(dpkg --print-architecture)
case $ARCH in amd64 | arm64) ;; *) die "only amd64 and arm64 are known here, not $ARCH" ;; esac
mkdir -p "$W"
exec 9>"$W/lock"
flock -n 9 || { say "waiting for another run to finish"; flock 9; }
for component in "$@"; do
  where "$component" >/dev/null
  if ! present "$component"; then
    began=$(date +%s)
    "get_$(echo "$component" | tr - _)"
    say "$component: $(where "$component") ($(($(date +%s) - began)) s)"
  fi
done
