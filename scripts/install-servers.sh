#!/bin/bash
# Installs what the tests use and PyPI does not have: Ceph's radosgw, nginx, fio, fuse3 for mounts without root, a
# registry, the tools of container images (skopeo, umoci, buildah, podman, containerd) with a static busybox to put into
# them, the OCI image specification's schemas, nfs-ganesha with the NFS client library,
# and Chromium for the pages that reports are.
# Debian and Ubuntu, as root or with passwordless sudo; does nothing when they are there. Without them the tests
# that need them are skipped, so this fails only where they must not be: when CI is set.
set -u

declare -A package_of=(
  [ceph-mon]=ceph-mon [ceph-osd]=ceph-osd [radosgw]=radosgw [radosgw-admin]=ceph-common [ceph]=ceph-common
  [monmaptool]=ceph-base [nginx]=nginx-light [fusermount3]=fuse3 [fio]=fio
  [docker-registry]=docker-registry [skopeo]=skopeo [umoci]=umoci [buildah]=buildah [podman]=podman [runc]=runc
  [busybox]=busybox-static [ctr]=containerd [ganesha.nfsd]=nfs-ganesha [chromium]=chromium
)
schemas=/usr/share/gocode/src/github.com/opencontainers/image-spec/schema
policy=/usr/sbin/policy-rc.d
export PATH="$PATH:/usr/local/sbin:/usr/sbin"

give_up() {
  echo "install-servers: $1; tests that need ${packages[*]} will be skipped"
  [ -z "${CI:-}" ]
  exit
}

packages=()
for program in "${!package_of[@]}"; do
  command -v "$program" >/dev/null || packages+=("${package_of[$program]}")
done
# These have no program of their own.
compgen -G '/usr/lib/*/ganesha/libfsalvfs.so' >/dev/null || packages+=(nfs-ganesha-vfs)
compgen -G '/usr/lib/*/libnfs.so.1[34]' >/dev/null || packages+=(libnfs13)
[ -d "$schemas" ] || packages+=(golang-github-opencontainers-image-spec-dev)
if [ ${#packages[@]} -eq 0 ]; then
  echo "install-servers: all are installed already"
  exit 0
fi
mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)

command -v apt-get >/dev/null || give_up "not a Debian system"
if [ "$(id -u)" -eq 0 ]; then
  as_root=(env)
elif sudo -n true 2>/dev/null; then
  as_root=(sudo -n env)
else
  give_up "neither root nor passwordless sudo"
fi

# The tests start their own: what is installed must not start by itself, now. A policy that is there stays.
if [ ! -e "$policy" ]; then
  trap '"${as_root[@]}" rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
  "${as_root[@]}" chmod 755 "$policy"
fi

apt() { "${as_root[@]}" DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@" </dev/null >"$log" 2>&1; }
log=$(mktemp)
install=(install -y --no-install-recommends "${packages[@]}")
# The lists of a fresh machine or image are empty or old: fetch them once, only when it does not work without.
if apt "${install[@]}" || { apt update && apt "${install[@]}"; }; then
  rm -f "$log"
  echo "install-servers: installed ${packages[*]}"
else
  tail -n 20 "$log"
  rm -f "$log"
  give_up "apt-get failed"
fi
